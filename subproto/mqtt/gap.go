package mqtt

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"parley/msg"

	"github.com/mochi-mqtt/server/v2/packets"
)

// gapLevel is the first level of the topics on which a session hears of its own
// gaps. They never pass through the hub.
const gapLevel = "$gap"

// propGap is the user property of CONNACK and SUBACK that tells a gap, as JSON.
const propGap = "parley-gap"

// gap is a part of the log that a filter of the session would have matched and
// that is gone. It is what peers are told, as JSON.
type gap struct {
	Filter string     `json:"filter"` // "#" if it concerns all of the session's
	First  msg.Offset `json:"first"`
	Last   msg.Offset `json:"last"`
	Count  uint64     `json:"count"` // 0: not known any more, at least one
	Reason string     `json:"reason"`
}

func gapOf(g *msg.Gap) gap {
	return gap{g.Filter.String(), g.First, g.Last, g.Count, g.Reason}
}

func gapOfNotice(n *msg.Notice) gap {
	g := gap{"#", n.First, n.Last, n.Count, n.Reason}
	if n.Subscription != nil {
		g.Filter = n.Subscription.Filter.String()
	}
	return g
}

func (g *gap) json() []byte {
	b, _ := json.Marshal(g) // it holds nothing that could not be encoded
	return b
}

// topic is where the gap is told. A topic has no wildcards ([MQTT-3.3.2-2]), so
// they are escaped, each as one level or the same part of one: $gap/<filter>
// matches it.
func (g *gap) topic() string {
	t := gapLevel + "/" + strings.NewReplacer("%", "%25", "+", "%2B", "#", "%23").Replace(g.Filter)
	if len(t) > 65535 {
		return gapLevel + "/%23"
	}
	return t
}

// isGapFilter tells whether f selects gaps and not messages.
func isGapFilter(f msg.Filter) bool {
	first, _, _ := strings.Cut(f.Pattern, "/")
	return first == gapLevel && f.Group == ""
}

// gapListener is a subscription to gaps.
type gapListener struct {
	filter msg.Filter
	id     uint64 // subscription identifier; 0 = none
}

// listen begins or replaces a subscription to gaps. The session holds it too, so
// that it comes back with it.
func (h *handler) listen(s *msg.Subscription) {
	h.unlisten(s.Filter)
	h.listeners = append(h.listeners, gapListener{s.Filter, s.Handle})
}

func (h *handler) unlisten(f msg.Filter) {
	h.listeners = slices.DeleteFunc(h.listeners, func(l gapListener) bool { return l.filter == f })
}

// tellGap publishes a gap to the client if it listens, at QoS 0.
func (h *handler) tellGap(g *gap) {
	h.log().Info("gap", "filter", g.Filter, "first", g.First, "last", g.Last, "count", g.Count, "reason", g.Reason)
	p := outPublish{head: packets.Publish << 4, version: h.version, topic: g.topic(), payload: g.json()}
	listened := false
	for _, l := range h.listeners {
		if !l.filter.Matches(p.topic) {
			continue
		}
		listened = true
		if l.id != 0 { // [MQTT-3.3.4-3]
			p.own = appendVarint(append(p.own, packets.PropSubscriptionIdentifier), int(l.id))
		}
	}
	if !listened || h.state != stateOpen {
		return
	}
	if h.version == 5 {
		p.shared = g.properties()
	}
	if size := p.measure(0); h.maxOut > 0 && size > h.maxOut {
		h.e.tooLarge.Inc()
		return
	}
	h.leave(&msg.Delivery{}, 0, p.append(nil))
}

// properties are those of the PUBLISH that tells the gap.
func (g *gap) properties() []byte {
	b := appendText([]byte{packets.PropPayloadFormat, 1, packets.PropContentType}, "application/json")
	b = appendUser(b, "parley-filter", g.Filter)
	b = appendUser(b, "parley-first", strconv.FormatUint(uint64(g.First), 10))
	b = appendUser(b, "parley-last", strconv.FormatUint(uint64(g.Last), 10))
	b = appendUser(b, "parley-count", strconv.FormatUint(g.Count, 10))
	return appendUser(b, "parley-reason", g.Reason)
}

// gapProperties are the user properties of CONNACK and SUBACK, nil if there are
// no gaps. One that no property can hold is left out.
func gapProperties(gaps []gap) (list []packets.UserProperty) {
	for i := range gaps {
		if text := string(gaps[i].json()); len(text) <= 65535 {
			list = append(list, packets.UserProperty{Key: propGap, Val: text})
		}
	}
	return list
}

// maxEarlyGaps bounds the gaps that CONNACK tells; more come afterwards.
const maxEarlyGaps = 64

// earlyGaps takes from a resumed session the gaps that arose while nobody was
// connected. If it has another notice behind them, that is in n and more is true.
func (h *handler) earlyGaps(n *msg.Notice) (gaps []gap, more bool) {
	for len(gaps) < maxEarlyGaps && h.sess.NextNotice(n) {
		if n.Kind != msg.NoticeGap {
			return gaps, true
		}
		gaps = append(gaps, gapOfNotice(n))
	}
	return gaps, false
}
