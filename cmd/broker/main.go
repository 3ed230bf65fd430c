// Command broker is parley: one WebSocket port that speaks MQTT, WAMP and JSON.
// run.go is the way through it: all parts and how they are wired.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Environ()}))
}
