package torture

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// mqttLink speaks MQTT 3.1.1 (version 4) or 5 over WebSocket.
type mqttLink struct {
	*socket
	version byte
	rest    []byte // what of a packet has arrived; owned by the reader
}

// sessionExpiry outlasts every run, in seconds.
const sessionExpiry = 24 * 3600

// keepAlive is longer than any client is silent on purpose, in seconds.
const keepAlive = 300

func openMQTT(ctx context.Context, version byte, h handshake) (link, bool, error) {
	s, err := dialSocket(ctx, h.url, "mqtt", websocket.MessageBinary)
	if err != nil {
		return nil, false, err
	}
	l := &mqttLink{socket: s, version: version}
	present, err := l.connect(ctx, h)
	if err != nil {
		s.cut()
		return nil, false, err
	}
	return l, present, nil
}

// connect sends CONNECT and reads CONNACK (MQTT 5 sections 3.1 and 3.2).
func (l *mqttLink) connect(ctx context.Context, h handshake) (present bool, err error) {
	var w packetWriter
	w.text("MQTT")
	w.u8(l.version)
	flags := byte(0)
	if h.clean || l.version == 4 && !h.durable {
		flags |= 0x02
	}
	if h.will != nil {
		flags |= 0x04 | h.will.QoS<<3
	}
	w.u8(flags)
	w.u16(keepAlive)
	if l.version == 5 {
		var p packetWriter
		if h.durable {
			p.u8(0x11)
			p.u32(sessionExpiry)
		}
		if h.inFlight > 0 {
			p.u8(0x21)
			p.u16(h.inFlight)
		}
		p.user("parley-offset", "1")
		w.block(p.b)
	}
	w.text(h.session)
	if h.will != nil {
		if l.version == 5 {
			var p packetWriter
			p.u8(0x18)
			p.u32(uint32(h.will.Delay / time.Second))
			w.block(p.b)
		}
		w.text(h.will.Topic)
		w.text(string(payload(h.will.Message)))
	}
	if err := l.write(packet(typeConnect<<4, w.b)); err != nil {
		return false, err
	}
	for {
		first, body, rest, ok, err := nextPacket(l.rest)
		if err != nil {
			return false, err
		}
		if ok {
			l.rest = rest
			if first>>4 != typeConnack || len(body) < 2 {
				return false, fmt.Errorf("type %d instead of CONNACK: %w", first>>4, errPacket)
			}
			if body[1] != 0 {
				return false, fmt.Errorf("CONNACK 0x%02X", body[1])
			}
			return body[0]&1 != 0, nil
		}
		b, err := l.socket.read(ctx)
		if err != nil {
			return false, err
		}
		l.rest = append(l.rest, b...)
	}
}

func (l *mqttLink) publish(n uint16, m *outgoing, again bool) error {
	var w packetWriter
	w.text(m.topic)
	first := byte(typePublish<<4) | m.qos<<1
	if m.qos > 0 {
		w.u16(n)
		if again {
			first |= 0x08
		}
	}
	if m.retain {
		first |= 0x01
	}
	if l.version == 5 {
		var p packetWriter
		if m.key != "" {
			p.user("parley-key", m.key)
		}
		w.block(p.b)
	}
	w.b = append(w.b, payload(m.id)...)
	return l.write(packet(first, w.b))
}

func (l *mqttLink) short(first byte, n uint16) error {
	return l.write([]byte{first, 2, byte(n >> 8), byte(n)})
}

func (l *mqttLink) release(n uint16) error  { return l.short(typePubrel<<4|2, n) }
func (l *mqttLink) complete(n uint16) error { return l.short(typePubcomp<<4, n) }

func (l *mqttLink) ack(d *delivery) (bool, error) {
	switch d.qos {
	case 1:
		return true, l.short(typePuback<<4, d.packet)
	case 2:
		return true, l.short(typePubrec<<4, d.packet)
	}
	return false, nil
}

func (l *mqttLink) request(first byte, n uint16, rest func(w *packetWriter)) error {
	var w packetWriter
	w.u16(n)
	if l.version == 5 {
		w.u8(0) // no properties
	}
	rest(&w)
	return l.write(packet(first, w.b))
}

func (l *mqttLink) subscribe(n uint16, filter string, qos byte) error {
	return l.request(typeSubscribe<<4|2, n, func(w *packetWriter) { w.text(filter); w.u8(qos) })
}

func (l *mqttLink) unsubscribe(n uint16, filter string) error {
	return l.request(typeUnsubscribe<<4|2, n, func(w *packetWriter) { w.text(filter) })
}

func (l *mqttLink) goodbye() error { return l.write([]byte{typeDisconnect << 4, 0}) }

func (l *mqttLink) read(ctx context.Context) ([]input, error) {
	var out []input
	for {
		first, body, rest, ok, err := nextPacket(l.rest)
		if err != nil {
			return out, err
		}
		if ok {
			in, err := l.input(first, body)
			l.rest = rest
			if err != nil {
				return out, err
			}
			if in.kind != 0 {
				out = append(out, in)
			}
			continue
		}
		if len(out) > 0 {
			return out, nil
		}
		b, err := l.socket.read(ctx)
		if err != nil {
			return nil, err
		}
		l.rest = append(l.rest[:len(l.rest):len(l.rest)], b...)
	}
}

func (l *mqttLink) input(first byte, body []byte) (input, error) {
	r := &packetReader{b: body}
	switch kind := first >> 4; kind {
	case typePublish:
		return l.delivery(first, r)
	case typePuback, typePubrec, typePubcomp, typePubrel:
		return l.answer(kind, r)
	case typeSuback, typeUnsuback:
		return l.granted(kind, r)
	case typePingresp:
		return input{}, nil
	case typeDisconnect:
		reason := byte(0)
		if len(body) > 0 {
			reason = body[0]
		}
		return input{}, fmt.Errorf("DISCONNECT 0x%02X", reason)
	default:
		return input{}, fmt.Errorf("type %d: %w", kind, errPacket)
	}
}

func (l *mqttLink) answer(kind byte, r *packetReader) (input, error) {
	in := input{n: r.u16()}
	reason := byte(0)
	if l.version == 5 && len(r.b) > 0 {
		reason = r.u8()
		if len(r.b) > 0 {
			users := r.users()
			in.offset, _ = strconv.ParseUint(users["parley-offset"], 10, 64)
		}
	}
	switch kind {
	case typePuback:
		in.kind = inAcked
	case typePubrec:
		in.kind = inReceived
	case typePubcomp:
		in.kind = inCompleted
	default:
		in.kind = inRelease
	}
	if reason >= 0x80 && kind != typePubrel {
		in.kind, in.note = inRefused, fmt.Sprintf("type %d, reason 0x%02X", kind, reason)
	}
	return in, r.err("answer")
}

func (l *mqttLink) granted(kind byte, r *packetReader) (input, error) {
	in := input{kind: inSubscribed, n: r.u16()}
	if l.version == 5 {
		r.users()
	}
	if kind == typeUnsuback {
		in.kind = inUnsubscribed
		return in, r.err("UNSUBACK")
	}
	if code := r.u8(); code >= 0x80 {
		return in, fmt.Errorf("SUBACK 0x%02X", code)
	}
	return in, r.err("SUBACK")
}

func (l *mqttLink) delivery(first byte, r *packetReader) (input, error) {
	d := &delivery{qos: first >> 1 & 3, marked: first&0x08 != 0, retained: first&0x01 != 0}
	d.topic = r.text()
	if d.qos > 0 {
		d.packet = r.u16()
	}
	if l.version == 5 {
		users := r.users()
		d.offset, _ = strconv.ParseUint(users["parley-offset"], 10, 64)
	}
	if err := r.err("PUBLISH"); err != nil {
		return input{}, err
	}
	var err error
	d.id, err = parsePayload(r.b)
	return input{kind: inDelivery, d: d}, err
}
