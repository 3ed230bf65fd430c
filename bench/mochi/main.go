// Command mochi is the peer that figures are compared with: the stock server of
// mochi-mqtt with its own websocket listener, everybody allowed, nothing stored
// unless --store says where: then by its own bolt hook.
package main

import (
	"flag"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/hooks/storage/bolt"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:1883", "`address` of the websocket listener")
	admin := flag.String("admin", "", "`address` where /debug/pprof is served")
	plain := flag.String("tcp", "", "`address` of a listener for MQTT without WebSocket")
	store := flag.String("store", "", "`file` of the bolt hook")
	flag.Parse()
	if err := serve(*listen, *plain, *admin, *store); err != nil {
		slog.Error("serve", "error", err)
		os.Exit(1)
	}
}

func serve(listen, plain, admin, store string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)

	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	if err := server.AddListener(listeners.NewWebsocket(listeners.Config{ID: "ws", Address: listen})); err != nil {
		return err
	}
	if plain != "" {
		if err := server.AddListener(listeners.NewTCP(listeners.Config{ID: "tcp", Address: plain})); err != nil {
			return err
		}
	}
	if store != "" {
		if err := server.AddHook(new(bolt.Hook), &bolt.Options{Path: store}); err != nil {
			return err
		}
	}
	if admin != "" {
		mux := http.NewServeMux()
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		go func() { slog.Error("pprof", "error", http.ListenAndServe(admin, mux)) }()
	}
	if err := server.Serve(); err != nil {
		return err
	}
	<-stop
	return server.Close()
}
