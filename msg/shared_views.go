package msg

import "unicode/utf8"

// Keys of the views in a message's shared cache.
const (
	sharedBytes uint32 = SharedViews + iota
	sharedUTF8
	sharedJSON
	sharedEncoding
	sharedArgs   // + Codec
	_            // CodecMsgpack
	_            // CodecCBOR
	sharedKwargs // + Codec
)

// BytesView is Payload.BytesView, computed once for all receivers.
func (m *Message) BytesView() []byte {
	if m.Payload.Form == FormBytes {
		return m.Payload.Data
	}
	return m.Shared(sharedBytes, m.Payload.BytesView)
}

// UTF8 tells whether BytesView is valid UTF-8 text, so that MQTT 5 may call it so
// (payload format indicator 1). Computed once.
func (m *Message) UTF8() bool {
	if m.Payload.Form == FormBytes && m.Payload.Text {
		return true
	}
	return len(m.Shared(sharedUTF8, func() []byte {
		if utf8.Valid(m.BytesView()) {
			return []byte{1}
		}
		return nil
	})) > 0
}

// JSONView is Payload.JSONView, computed once for all receivers.
func (m *Message) JSONView() (value []byte, encoding string) {
	var name []byte
	value = m.Shared(sharedJSON, func() []byte {
		v, enc := m.Payload.JSONView()
		name = []byte(enc)
		return v
	})
	name = m.Shared(sharedEncoding, func() []byte {
		if name == nil { // another caller computed the value just now
			_, enc := m.Payload.JSONView()
			name = []byte(enc)
		}
		return name
	})
	switch string(name) {
	case encodingText:
		return value, encodingText
	case encodingBase64:
		return value, encodingBase64
	}
	return value, ""
}

// ArgsView is Payload.ArgsView, computed once per codec for all receivers.
func (m *Message) ArgsView(c Codec) (args, kwargs []byte) {
	computed := false
	args = m.Shared(sharedArgs+uint32(c), func() []byte {
		computed = true
		args, kwargs = m.Payload.ArgsView(c)
		return args
	})
	kwargs = m.Shared(sharedKwargs+uint32(c), func() []byte {
		if !computed { // another caller computed the arguments just now
			_, kwargs = m.Payload.ArgsView(c)
		}
		return kwargs
	})
	return args, kwargs
}
