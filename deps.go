//go:build deps

package parley

import (
	_ "github.com/centrifugal/centrifuge-go"
	_ "github.com/centrifugal/protocol"
	_ "github.com/coder/websocket"
	_ "github.com/eclipse/paho.golang/autopaho"
	_ "github.com/eclipse/paho.golang/paho"
	_ "github.com/eclipse/paho.mqtt.golang"
	_ "github.com/gammazero/nexus/v3/client"
	_ "github.com/gammazero/nexus/v3/router"
	_ "github.com/gammazero/nexus/v3/transport/serialize"
	_ "github.com/gammazero/nexus/v3/wamp"
	_ "github.com/mochi-mqtt/server/v2/packets"
	_ "github.com/spf13/cobra"
	_ "github.com/ugorji/go/codec"
	_ "go.etcd.io/bbolt"
	_ "go.uber.org/goleak"
	_ "go.yaml.in/yaml/v3"
	_ "golang.org/x/crypto/argon2"
	_ "golang.org/x/crypto/bcrypt"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
	_ "golang.org/x/time/rate"
)
