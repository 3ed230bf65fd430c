package msg

// Form says what Payload.Data holds.
type Form uint8

const (
	// FormBytes is opaque bytes, described by ContentType and Text.
	FormBytes Form = iota
	// FormArgs is a WAMP argument pair as it came over the wire: an array
	// [args] or [args, kwargs], args an array, kwargs an object, in Codec.
	FormArgs
)

// Codec is a WAMP serialization.
type Codec uint8

const (
	CodecJSON Codec = iota
	CodecMsgpack
	CodecCBOR
)

// Payload is a message's content, stored once, as it came.
type Payload struct {
	Form        Form
	Codec       Codec  // of FormArgs; CodecJSON otherwise
	Text        bool   // FormBytes: the publisher declared it UTF-8 (MQTT 5 payload format 1); already checked
	ContentType string // FormBytes: MIME type as declared, "" = unknown
	Data        []byte
}

// Bytes makes a payload of opaque bytes.
func Bytes(b []byte) Payload { return Payload{Data: b} }
