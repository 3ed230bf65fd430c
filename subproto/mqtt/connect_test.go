package mqtt

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestConnackNamesTheLimits(t *testing.T) {
	b := start(t, func(o *Options) { o.MaxKeepAlive, o.MaxSessionExpiry = time.Minute, 2*time.Minute })
	p := b.dial(5)
	ack := p.handshake("", func(pk *packets.Packet) {
		pk.Connect.Clean, pk.Connect.Keepalive = false, 120
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 300, true
	})
	pr := ack.Properties
	switch {
	case ack.ReasonCode != 0 || ack.SessionPresent:
		t.Errorf("reason %#x, session present %v", ack.ReasonCode, ack.SessionPresent)
	case pr.MaximumQosFlag || pr.SharedSubAvailableFlag || pr.RetainAvailableFlag || pr.WildcardSubAvailableFlag || pr.SubIDAvailableFlag:
		t.Errorf("something is not available: %+v", pr) // [MQTT-3.2.2-9]: absent Maximum QoS is 2
	case pr.ReceiveMaximum != 1024 || pr.MaximumPacketSize != 1<<20 || pr.TopicAliasMaximum != 32:
		t.Errorf("limits %+v", pr)
	case !pr.SessionExpiryIntervalFlag || pr.SessionExpiryInterval != 120:
		t.Error("Session Expiry Interval is not the 120 s that are allowed")
	case !pr.ServerKeepAliveFlag || pr.ServerKeepAlive != 60:
		t.Errorf("Server Keep Alive %d, want 60", pr.ServerKeepAlive)
	case !strings.HasPrefix(pr.AssignedClientID, "parley-") || len(pr.AssignedClientID) < 20:
		t.Errorf("Assigned Client Identifier %q", pr.AssignedClientID)
	}
	p.quiet() // the turn that sent CONNACK is over
	if ready, _, reading := p.c.State(); !ready || !reading {
		t.Errorf("ready %v, reading %v", ready, reading)
	}

	ack = b.dial(5).handshake("own", func(pk *packets.Packet) { pk.Connect.Keepalive = 30 })
	if pr := ack.Properties; pr.SessionExpiryIntervalFlag || pr.ServerKeepAliveFlag || pr.AssignedClientID != "" {
		t.Errorf("properties nobody asked for: %+v", pr)
	}
}

func TestConnackOf311(t *testing.T) {
	b := start(t, nil)
	p := b.dial(4)
	ack := p.handshake("", nil) // empty with clean session is allowed [MQTT-3.1.3-6 of 3.1.1]
	if ack.ReasonCode != 0 || ack.FixedHeader.Remaining != 2 {
		t.Fatalf("CONNACK %+v", ack)
	}
	p = b.dial(4)
	if ack := p.handshake("kept", func(pk *packets.Packet) { pk.Connect.Clean = false }); ack.ReasonCode != 0 || ack.SessionPresent {
		t.Fatalf("CONNACK %+v", ack)
	}
}

// In 3.1 and 3.1.1 a password needs a user name, which may be empty.
func TestCredentials(t *testing.T) {
	set := func(user, password string) func(*packets.Packet) {
		return func(pk *packets.Packet) {
			pk.Connect.Username, pk.Connect.UsernameFlag = []byte(user), user != "" || pk.ProtocolVersion < 5
			pk.Connect.Password, pk.Connect.PasswordFlag = []byte(password), password != ""
		}
	}
	for _, c := range []struct {
		name           string
		user, password string
		v4, v5         byte
	}{
		{"none", "", "", 0, 0},
		{"right", "ada", "lace", 0, 0},
		{"wrong", "ada", "byron", 4, 0x86},
		{"user alone", "ada", "", 4, 0x86},
		{"token", "", "key", 0, 0},
		{"wrong token", "", "lock", 4, 0x86},
		{"no answer", "slow", "x", 3, 0x88},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(t *testing.T, version byte) {
				b := start(t, nil)
				p := b.dial(version)
				want := c.v4
				if version == 5 {
					want = c.v5
				}
				if ack := p.handshake("c", set(c.user, c.password)); ack.ReasonCode != want {
					t.Fatalf("CONNACK %#x, want %#x", ack.ReasonCode, want)
				}
				if want != 0 {
					if _, ok := p.next(); ok {
						t.Fatal("a packet after a refusing CONNACK [MQTT-3.1.4-5]")
					}
				}
			})
		})
	}
}

// The namespace is the identity's; HTTP's identity counts if CONNECT has none.
func TestNamespaceAndHTTPIdentity(t *testing.T) {
	b := start(t, func(o *Options) { o.Auth = nil })
	tom := &auth.Identity{User: "tom", Namespace: "other"}
	in := b.dialInfo(5, subproto.Info{Protocol: "mqtt", Identity: tom})
	in.handshake("in", nil)
	in.subscribe(0, "#")
	other := b.dialInfo(5, subproto.Info{Protocol: "mqtt", Identity: &auth.Identity{User: "eve"}, Namespace: "other"})
	other.handshake("o", nil)
	home := b.dialInfo(5, subproto.Info{Protocol: "mqtt", Identity: &auth.Identity{User: "eve"}})
	home.handshake("h", nil)
	home.publish(1, "t", "default")
	other.publish(1, "t", "other")
	in.receive("t", "other")

	if ack := b.dial(5).handshake("nobody", nil); ack.ReasonCode != 0x87 {
		t.Fatalf("without Auth and HTTP identity: %#x", ack.ReasonCode)
	}
	lost := b.dialInfo(4, subproto.Info{Protocol: "mqtt", Identity: tom, Namespace: "nowhere"})
	if ack := lost.handshake("x", nil); ack.ReasonCode != 0 { // the identity decides
		t.Fatalf("CONNACK %#x", ack.ReasonCode)
	}
	lost = b.dialInfo(4, subproto.Info{Protocol: "mqtt", Identity: &auth.Identity{User: "eve"}, Namespace: "nowhere"})
	if ack := lost.handshake("x", nil); ack.ReasonCode != 5 {
		t.Fatalf("CONNACK %#x, want 5", ack.ReasonCode)
	}
}

// gate is an authenticator that answers when the test says so.
type gate struct {
	asked chan context.Context
	open  chan error
}

func (g *gate) Authenticate(ctx context.Context, _ auth.Credentials, done func(*auth.Identity, error)) {
	g.asked <- ctx
	go func() {
		select {
		case err := <-g.open:
			done(&auth.Identity{}, err)
		case <-ctx.Done():
			done(nil, msg.ErrAuthUnavail)
		}
	}()
}

// While authentication runs nothing is read; what came in CONNECT's own frame
// waits and is handled after CONNACK.
func TestPacketsBehindConnectWait(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		g := &gate{make(chan context.Context, 1), make(chan error)}
		b := start(t, func(o *Options) { o.Auth = g })
		stream, answers := conversation(t, version)
		p := b.dial(version)
		p.raw(stream...)
		<-g.asked
		if ready, _, reading := p.c.State(); ready || reading {
			t.Fatalf("ready %v, reading %v while authenticating", ready, reading)
		}
		g.open <- nil
		if pk := p.want(packets.Connack); pk.ReasonCode != 0 {
			t.Fatalf("CONNACK %#x", pk.ReasonCode)
		}
		p.wantAll(answers[1:])
		p.quiet()
	})
}

func TestPeerGoneWhileAuthenticating(t *testing.T) {
	g := &gate{make(chan context.Context, 1), make(chan error)}
	b := start(t, func(o *Options) { o.Auth = g })
	p := b.dial(5)
	p.send(connectPacket(5, "c", nil))
	ctx := <-g.asked
	p.c.Drop(io.EOF)
	select {
	case <-ctx.Done():
	case <-time.After(patience):
		t.Fatal("the authentication was not given up")
	}
}

// A refused CONNECT that came with a wrong packet behind it is told about itself.
func TestRefusalIgnoresWhatFollows(t *testing.T) {
	b := start(t, nil)
	p := b.dial(5)
	p.raw(append(encode(t, connectPacket(5, "c", func(pk *packets.Packet) {
		pk.Connect.Username, pk.Connect.UsernameFlag = []byte("eve"), true
	})), 0x00, 0x00)...)
	if pk := p.want(packets.Connack); pk.ReasonCode != 0x86 {
		t.Fatalf("CONNACK %#x", pk.ReasonCode)
	}
	p.wantEnd(0, subproto.ClosePolicy)
}

func TestClientIDRules(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, func(o *Options) { o.MaxClientID = 8 })
		p := b.dial(version)
		want := map[byte]byte{3: 2, 4: 2, 5: 0x85}[version]
		if ack := p.handshake("123456789", nil); ack.ReasonCode != want {
			t.Fatalf("CONNACK %#x, want %#x", ack.ReasonCode, want)
		}
		b.connect(version, "12345678", nil)
		p = b.dial(version) // bound to the user
		if ack := p.handshake("12345678", func(pk *packets.Packet) {
			pk.Connect.Username, pk.Connect.UsernameFlag = []byte("ada"), true
			pk.Connect.Password, pk.Connect.PasswordFlag = []byte("lace"), true
		}); ack.ReasonCode != want {
			t.Fatalf("another user's: CONNACK %#x, want %#x", ack.ReasonCode, want)
		}
	})
}

// [MQTT-3.1.4-3]: the older connection is told and closed.
func TestTakeover(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		old := b.connect(version, "c", nil)
		old.subscribe(1, "#")
		fresh := b.connect(version, "c", nil)
		old.wantEnd(0x8e, subproto.ClosePolicy)
		fresh.publish(1, "t", "x")
		fresh.quiet()
	})
}

// Forty connections race for one client id: one is left.
func TestTakeoverStorm(t *testing.T) {
	b := start(t, nil)
	peers := make([]*peer, 40)
	for i := range peers {
		peers[i] = b.dial(5)
	}
	connect := encode(t, connectPacket(5, "c", nil))
	for _, p := range peers {
		go p.raw(connect...)
	}
	left := make(chan bool)
	for _, p := range peers {
		go func() {
			p.c.Next() // CONNACK, or the end
			for {
				if f, ok := p.c.Next(); !ok {
					left <- false
					return
				} else if f.Data[0]>>4 == packets.Pingresp {
					left <- true
					return
				}
			}
		}()
	}
	for range 39 {
		if <-left {
			t.Fatal("more than one is left")
		}
	}
	for _, p := range peers {
		p.raw(packets.Pingreq<<4, 0)
	}
	if !<-left {
		t.Fatal("none is left")
	}
}

func TestDrain(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		p := b.connect(version, "c", nil)
		drained := make(chan error, 1)
		go func() { drained <- b.hub.Drain(context.Background(), 0) }()
		p.wantEnd(0x8b, subproto.CloseGoingAway)
		if err := <-drained; err != nil {
			t.Fatal(err)
		}
		late := b.dial(version)
		if ack := late.handshake("d", nil); version == 5 && ack.ReasonCode != 0x88 || version < 5 && ack.ReasonCode != 3 {
			t.Fatalf("CONNACK %#x", ack.ReasonCode)
		}
	})
}

func TestReasonStringOnlyIfAsked(t *testing.T) { // [MQTT-3.1.2-29]
	b := start(t, nil)
	for _, asked := range []bool{true, false} {
		p := b.connect(5, "c", func(pk *packets.Packet) {
			pk.Properties.RequestProblemInfoFlag = true
			if asked {
				pk.Properties.RequestProblemInfo = 1
			}
		})
		pk := p.publishPacket(1, "denied/t", "x")
		p.send(pk)
		if ack := p.want(packets.Puback); ack.ReasonCode != 0x87 || (ack.Properties.ReasonString != "") != asked {
			t.Errorf("asked %v: PUBACK %#x %q", asked, ack.ReasonCode, ack.Properties.ReasonString)
		}
		p.raw(0, 0)
		if pk := p.want(packets.Disconnect); (pk.Properties.ReasonString != "") != asked {
			t.Errorf("asked %v: DISCONNECT %q", asked, pk.Properties.ReasonString)
		}
	}
}

// A client that cannot even be sent its CONNACK is closed ([MQTT-3.1.2-24]).
func TestTinyMaximumPacketSize(t *testing.T) {
	b := start(t, nil)
	p := b.dial(5)
	p.send(connectPacket(5, "c", func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 4 }))
	p.wantEnd(0, subproto.CloseTooBig)
}
