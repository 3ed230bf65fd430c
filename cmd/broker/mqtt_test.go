package main

import (
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"parley/client"
	"parley/msg"
)

// exchange sends a packet over a new connection, each of the others after the
// answer to the one before, and returns the last answer.
func exchange(t *testing.T, address string, sends ...*packets.ControlPacket) *packets.ControlPacket {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var answer *packets.ControlPacket
	for _, p := range sends {
		if _, err := p.WriteTo(conn); err != nil {
			t.Fatal(err)
		}
		if answer, err = packets.ReadPacket(conn); err != nil {
			t.Fatal(err)
		}
	}
	return answer
}

// connectFive is a CONNECT of MQTT 5 that asks for whatever can be limited.
func connectFive() *packets.ControlPacket {
	p := packets.NewControlPacket(packets.CONNECT)
	c := p.Content.(*packets.Connect)
	c.ClientID, c.CleanStart = "c", true
	week, yes := uint32(7*24*3600), byte(1)
	c.Properties.SessionExpiryInterval, c.Properties.RequestResponseInfo = &week, &yes
	return p
}

// What the mqtt keys say, a client of MQTT 5 is told.
func TestKeysOfMQTT(t *testing.T) {
	for _, c := range []struct {
		keys    map[string]string
		expiry  uint32 // 0: as asked for
		aliases uint16
		answers string
		shared  byte
	}{
		{map[string]string{}, 0, 32, "", 2},
		{map[string]string{
			"mqtt.session_expiry": "1h", "mqtt.topic_aliases": "0", "mqtt.response_topics": "answers", "mqtt.shared_qos_max": "1",
		}, 3600, 0, "answers/c", 1},
		{map[string]string{"mqtt.topic_aliases": "7", "mqtt.shared_qos_max": "0"}, 0, 7, "", 0},
	} {
		c.keys["mqtt_listen"] = "127.0.0.1:0"
		s := start(t, configured(t, c.keys))
		ack := exchange(t, s.MQTT.String(), connectFive()).Content.(*packets.Connack)
		if p := ack.Properties; ack.ReasonCode != 0 || p.ResponseInfo != c.answers ||
			(p.SessionExpiryInterval == nil) != (c.expiry == 0) || p.SessionExpiryInterval != nil && *p.SessionExpiryInterval != c.expiry ||
			(p.TopicAliasMaximum == nil) != (c.aliases == 0) || p.TopicAliasMaximum != nil && *p.TopicAliasMaximum != c.aliases {
			t.Errorf("%v: CONNACK %d %+v", c.keys, ack.ReasonCode, *p)
		}
		subscribe := packets.NewControlPacket(packets.SUBSCRIBE)
		sub := subscribe.Content.(*packets.Subscribe)
		sub.PacketID = 1
		sub.Subscriptions = []packets.SubOptions{{Topic: "$share/g/a", QoS: 2}, {Topic: "b", QoS: 2}}
		got := exchange(t, s.MQTT.String(), connectFive(), subscribe).Content.(*packets.Suback).Reasons
		if string(got) != string([]byte{c.shared, 2}) {
			t.Errorf("%v: SUBACK %v", c.keys, got)
		}
	}
}

// Over MQTT a publish at QoS 1 tells its offset like the other protocols do.
func TestPublishOverMQTTTellsTheOffset(t *testing.T) {
	s := start(t, configured(t, nil))
	c := s.dial(client.Options{Protocol: "mqtt"})
	var last msg.Offset
	for range 2 {
		o, err := c.Publish(within(t), client.Publication{Topic: "a", QoS: 1})
		if err != nil || o <= last {
			t.Fatalf("offset %d after %d, %v", o, last, err)
		}
		last = o
	}
}
