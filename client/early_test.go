package client

import (
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"parley/msg"
)

// A resumed session is sent messages before its client has subscribed again;
// they go to the subscription that wants them.
func TestMessagesBeforeTheirSubscription(t *testing.T) {
	c := &mqttClient{}
	arrive := func(topic, payload string) {
		if _, err := c.received(paho.PublishReceived{Packet: &paho.Publish{
			Topic: topic, Payload: []byte(payload), Properties: &paho.PublishProperties{},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	arrive("jobs", "1")
	arrive("other", "2")
	arrive("jobs", "3")
	var got []string
	handle := func(r Received) { got = append(got, string(r.Payload)) }
	c.listen(msg.Filter{Pattern: "jobs"}, handle)
	arrive("jobs", "4")
	c.listen(msg.Filter{Pattern: "#"}, handle)
	if want := []string{"1", "3", "4", "2"}; len(got) != len(want) || got[0] != "1" || got[1] != "3" || got[2] != "4" || got[3] != "2" {
		t.Fatalf("got %v, want %v", got, want)
	}
}
