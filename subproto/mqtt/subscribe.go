package mqtt

import (
	"bytes"
	"slices"
	"strings"

	"parley/msg"

	"github.com/mochi-mqtt/server/v2/packets"
)

// subscribe handles SUBSCRIBE. A filter that is none is answered in its place in
// SUBACK; the others go to the session together.
func (h *handler) subscribe(body []byte) error {
	pk, err := decodeSubscribe(bytes.Clone(body), h.version)
	if err != nil {
		return err
	}
	var handle uint64 // the subscription identifier; every SUBSCRIBE sets its own
	if ids := pk.Properties.SubscriptionIdentifier; len(ids) > 0 {
		handle = uint64(ids[0])
	}
	codes := make([]byte, len(pk.Filters))
	subs, at := make([]msg.Subscription, 0, len(codes)), make([]int, 0, len(codes))
	for i := range pk.Filters {
		o := &pk.Filters[i]
		f, from, err := parseFilter(strings.Clone(o.Filter)) // the packet is not kept for one filter's sake
		switch {
		case err != nil:
			codes[i] = h.refusedSub(h.e.row(err).suback)
			continue
		case f.Group != "" && o.NoLocal: // [MQTT-3.8.3-4]
			return violation("no local on a shared subscription")
		}
		codes[i] = o.Qos
		switch { // section 3.9.3: a lower one may be granted
		case f.Group != "":
			codes[i] = min(codes[i], byte(h.e.opts.SharedQoS))
		case isGapFilter(f):
			codes[i] = 0
		}
		at = append(at, i)
		subs = append(subs, msg.Subscription{
			Filter: f, Handle: handle, QoS: msg.QoS(codes[i]), NoLocal: o.NoLocal,
			RetainAsPublished: o.RetainAsPublished, Retained: msg.RetainHandling(o.RetainHandling), From: from,
		})
	}
	if len(subs) == 0 {
		h.send(encodeSuback(packets.Suback, h.version, pk.PacketID, codes, packets.Properties{}))
		return nil
	}
	h.waiting++
	id := pk.PacketID
	h.sess.Subscribe(subs, func(results []msg.SubscribeResult) {
		results = slices.Clone(results)
		h.post(func() { h.subscribed(id, codes, at, subs, results) })
	})
	return nil
}

// parseFilter reads a filter of SUBSCRIBE or UNSUBSCRIBE. Without a filter behind
// it $gap is none.
func parseFilter(s string) (msg.Filter, msg.Replay, error) {
	f, from, err := msg.ParseSubscription(s)
	if err == nil && f.Pattern == "$gap" {
		err = msg.ErrFilterInvalid
	}
	return f, from, err
}

// subscribed sends SUBACK. What a replay should have held and was cut is told in
// it, and to who listens for gaps.
func (h *handler) subscribed(id uint16, codes []byte, at []int, subs []msg.Subscription, results []msg.SubscribeResult) {
	var gaps []gap
	for i := range results {
		err := results[i].Err
		if err == nil {
			if isGapFilter(subs[i].Filter) {
				h.listen(&subs[i])
			}
			if g := results[i].Gap; g != nil {
				gaps = append(gaps, gapOf(g))
			}
			continue
		}
		r := h.e.row(err)
		if r.ends {
			h.endFor(err)
			return
		}
		h.log().Debug("subscription refused", "error", err)
		codes[at[i]] = h.refusedSub(r.suback)
	}
	var props packets.Properties
	if h.problemInfo { // [MQTT-3.1.2-29]
		props.User = gapProperties(gaps)
	}
	packet := encodeSuback(packets.Suback, h.version, id, codes, props)
	if len(gaps) > 0 && h.maxOut > 0 && len(packet) > h.maxOut { // [MQTT-3.9.2-2]
		packet = encodeSuback(packets.Suback, h.version, id, codes, packets.Properties{})
	}
	h.send(packet)
	for i := range gaps {
		h.tellGap(&gaps[i])
	}
	h.pull = true
}

// refusedSub is the SUBACK code of a refusal: 3.1.1 has only one, and 3.1 clients
// are given it for want of any.
func (h *handler) refusedSub(code byte) byte {
	if h.version < 5 {
		return 0x80
	}
	return code
}

// unsubscribe handles UNSUBSCRIBE.
func (h *handler) unsubscribe(body []byte) error {
	pk, err := decodeUnsubscribe(bytes.Clone(body), h.version)
	if err != nil {
		return err
	}
	codes := make([]byte, len(pk.Filters))
	filters, at := make([]msg.Filter, 0, len(codes)), make([]int, 0, len(codes))
	for i := range pk.Filters {
		f, _, err := parseFilter(pk.Filters[i].Filter)
		if err != nil {
			codes[i] = h.e.row(err).unsuback
			continue
		}
		filters, at = append(filters, f), append(at, i)
	}
	id := pk.PacketID
	if len(filters) == 0 {
		h.send(encodeSuback(packets.Unsuback, h.version, id, codes, packets.Properties{}))
		return nil
	}
	h.waiting++
	h.sess.Unsubscribe(filters, func(results []error) {
		errs := slices.Clone(results)
		h.post(func() { h.unsubscribed(id, codes, at, filters, errs) })
	})
	return nil
}

func (h *handler) unsubscribed(id uint16, codes []byte, at []int, filters []msg.Filter, errs []error) {
	for i, err := range errs {
		if err == nil {
			h.unlisten(filters[i])
			continue
		}
		r := h.e.row(err)
		if r.ends {
			h.endFor(err)
			return
		}
		codes[at[i]] = r.unsuback
	}
	h.send(encodeSuback(packets.Unsuback, h.version, id, codes, packets.Properties{}))
}
