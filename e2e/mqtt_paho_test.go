package e2e

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
	paho3 "github.com/eclipse/paho.mqtt.golang"
)

// distinct takes values until n different ones have come. One may come twice in
// a row: these clients hand a message on before they have answered it, and the
// object that connects next knows nothing of it.
func distinct(t *testing.T, c <-chan string, n int) (got []string) {
	t.Helper()
	late := time.After(patience)
	for len(got) < n {
		select {
		case v := <-c:
			if len(got) == 0 || got[len(got)-1] != v {
				got = append(got, v)
			}
		case <-late:
			t.Fatalf("received %q, %d were awaited", got, n)
		}
	}
	return got
}

func numbers(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%03d", i))
	}
	return list
}

// TestPahoOverWebSocket: paho.mqtt.golang, 3.1 and 3.1.1, at QoS 2 with a session
// that outlives its connections.
func TestPahoOverWebSocket(t *testing.T) {
	for name, version := range map[string]uint{"mqttv3.1": 3, "mqtt": 4} {
		t.Run(name, func(t *testing.T) {
			b := startBroker(t, "")
			received := make(chan string, 1000)
			connect := func(id string, clean bool) paho3.Client {
				t.Helper()
				o := paho3.NewClientOptions().AddBroker("ws://" + b.listen + "/mqtt").SetClientID(id).SetCleanSession(clean).
					SetProtocolVersion(version).SetAutoReconnect(false).SetOrderMatters(true).
					SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { received <- string(m.Payload()) })
				c := paho3.NewClient(o)
				done(t, c.Connect())
				return c
			}
			device := connect("device", false)
			done(t, device.Subscribe("t", 2, nil))
			pub := connect("pub", true)
			for i, payload := range numbers(90) {
				if i%30 == 15 {
					device.Disconnect(100)
				}
				done(t, pub.Publish("t", 2, false, payload))
				if i%30 == 29 {
					device = connect("device", false)
				}
			}
			if got := distinct(t, received, 90); !slices.Equal(got, numbers(90)) {
				t.Errorf("received %q", got)
			}
			done(t, device.Unsubscribe("t"))
			done(t, pub.Publish("t", 2, false, "not any more"))
			device.Disconnect(100)
			pub.Disconnect(100)
			select {
			case m := <-received:
				t.Errorf("received %q too", m)
			default:
			}
		})
	}
}

func done(t *testing.T, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("%T: %v", token, token.Error())
	}
}

// TestPahoV5OverWebSocket: paho.golang at QoS 2 with a session that outlives
// its connections, a receive maximum, and properties there and back.
func TestPahoV5OverWebSocket(t *testing.T) {
	b := startBroker(t, "")
	address, err := url.Parse("ws://" + b.listen + "/mqtt")
	if err != nil {
		t.Fatal(err)
	}
	received, session := make(chan string, 1000), state.NewInMemory()
	last := make(chan *paho.Publish, 1000)
	connect := func(ctx context.Context, id string, expiry uint32, session *state.State) (*autopaho.ConnectionManager, bool) {
		t.Helper()
		up := make(chan bool, 1)
		o := autopaho.ClientConfig{
			ServerUrls: []*url.URL{address}, KeepAlive: 30, SessionExpiryInterval: expiry,
			OnConnectionUp: func(_ *autopaho.ConnectionManager, ack *paho.Connack) { up <- ack.SessionPresent },
			OnConnectError: func(err error) { t.Errorf("%s: %v", id, err) },
			ConnectPacketBuilder: func(c *paho.Connect, _ *url.URL) (*paho.Connect, error) {
				if c.Properties == nil {
					c.Properties = &paho.ConnectProperties{}
				}
				most := uint16(5)
				c.Properties.ReceiveMaximum = &most
				return c, nil
			},
			ClientConfig: paho.ClientConfig{
				ClientID: id,
				OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
					received <- string(r.Packet.Payload)
					last <- r.Packet
					return true, nil
				}},
			},
		}
		if session != nil {
			o.Session = session
		}
		m, err := autopaho.NewConnection(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case present := <-up:
			return m, present
		case <-time.After(patience):
			t.Fatalf("%s does not connect", id)
			return nil, false
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	stop := func(m *autopaho.ConnectionManager) {
		t.Helper()
		if err := m.Disconnect(ctx); err != nil {
			t.Error(err)
		}
	}
	device, present := connect(ctx, "device", 300, session)
	if present {
		t.Error("there was a session")
	}
	if _, err := device.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "t", QoS: 2}}}); err != nil {
		t.Fatal(err)
	}
	pub, _ := connect(ctx, "pub", 0, nil)
	for i, payload := range numbers(90) {
		if i%30 == 15 {
			stop(device)
		}
		p := &paho.Publish{Topic: "t", QoS: 2, Payload: []byte(payload), Properties: &paho.PublishProperties{
			ContentType: "text/plain", ResponseTopic: "answer", CorrelationData: []byte(payload),
			User: paho.UserProperties{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}},
		}}
		if _, err := pub.Publish(ctx, p); err != nil {
			t.Fatal(err)
		}
		if i%30 == 29 {
			if device, present = connect(ctx, "device", 300, session); !present {
				t.Error("the session is lost")
			}
		}
	}
	if got := distinct(t, received, 90); !slices.Equal(got, numbers(90)) {
		t.Errorf("received %q", got)
	}
	for range 90 {
		m := <-last
		p, payload := m.Properties, string(m.Payload)
		if p.ContentType != "text/plain" || p.ResponseTopic != "answer" || string(p.CorrelationData) != payload || fmt.Sprint(p.User) != "[{b 1} {a 2} {b 3}]" {
			t.Fatalf("properties of %s: %+v", payload, p)
		}
	}
	stop(device)
	stop(pub)
}
