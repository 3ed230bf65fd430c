package config

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// smallestStore holds an empty store and a few messages.
const smallestStore = 1 << 20

// settle checks what no key can check alone, and derives what depends on others.
func (l *loader) settle() {
	c := l.out.Config
	c.AnonymousSaid = l.out.Origins["allow_anonymous"] != "default"
	if !c.AnonymousSaid {
		c.AllowAnonymous = c.Auth.File == ""
	}
	if c.Gateway.DefaultProtocol == "none" {
		c.Gateway.DefaultProtocol = ""
	}
	if n := c.Store.MaxBytes; n > 0 && n < smallestStore {
		l.conflict("store.max_bytes", notAllowed(shortSize(n), "0 for no bound, or at least "+shortSize(smallestStore)))
	}
	if c.Store.Sync != "always" {
		l.out.Warnings = append(l.out.Warnings, "store.sync is "+c.Store.Sync+": what is acknowledged is not on disk yet, a power cut loses it and may damage the store")
	}
	for path, d := range map[string]time.Duration{"mqtt.keep_alive": c.MQTT.KeepAlive, "mqtt.session_expiry": c.MQTT.SessionExpiry, "json.session_expiry": c.JSON.SessionExpiry} {
		if d%time.Second != 0 { // the protocols count in seconds
			l.conflict(path, notAllowed(shortDuration(d), "whole seconds"))
		}
	}
	l.namespaces()
	l.pair("tls", c.TLS)
	l.pair("mqtt.tls", c.MQTT.TLS)
	l.pair("admin.tls", c.Admin.TLS)
	l.listeners()
	l.exposure()
}

func (l *loader) conflict(path, what string) {
	place := l.out.Origins[path]
	if place == "default" {
		place = ""
	}
	l.add(place, path, what)
}

// namespaces checks that every name leads to one namespace only.
func (l *loader) namespaces() {
	c := l.out.Config
	if len(c.Namespaces) == 0 {
		l.conflict("namespaces", "an empty list is not allowed; give at least one namespace")
		return
	}
	var names []string
	owner := map[string]string{} // kind and name -> namespace
	claim := func(kind, name, namespace string) {
		if other, taken := owner[kind+" "+name]; taken {
			l.conflict("namespaces", fmt.Sprintf("%s %s leads to both %s and %s; give each name once", kind, name, other, namespace))
		}
		owner[kind+" "+name] = namespace
	}
	for _, n := range c.Namespaces {
		names = append(names, n.Name)
		claim("realm", n.Name, n.Name)
		for _, r := range n.Realms {
			claim("realm", r, n.Name)
		}
		for _, h := range n.Hosts {
			claim("host", h, n.Name)
		}
		for _, p := range n.Paths {
			claim("path", p, n.Name)
		}
	}
	for i, r := range c.Auth.Rules {
		for _, n := range r.Namespaces {
			if !slices.Contains(names, n) {
				l.conflict("auth.rules", fmt.Sprintf("rule %d: namespace %s does not exist; %s", i+1, n, didYouMean(n, names)))
			}
		}
	}
	if !slices.Contains(names, c.DefaultNamespace) {
		l.conflict("default_namespace", notAllowed(c.DefaultNamespace, "the name of one of the namespaces: "+strings.Join(names, ", ")))
	}
}

func (l *loader) pair(path string, t TLS) {
	if (t.Cert == "") != (t.Key == "") {
		given, missing := "cert", "key"
		if t.Cert == "" {
			given, missing = missing, given
		}
		l.conflict(path+"."+given, "is given without "+path+"."+missing+"; give both or neither")
	}
}

// listeners checks that no two listeners want the same port.
func (l *loader) listeners() {
	taken := map[string]string{}
	for _, a := range l.out.Listeners() {
		if _, port, _ := net.SplitHostPort(a.Address); port == "0" {
			continue
		}
		if other, ok := taken[a.Address]; ok {
			l.conflict(a.Path, a.Address+" is already taken by "+other+"; give another port")
		}
		taken[a.Address] = a.Path
	}
}

// exposure refuses what would open the broker to others without anybody having
// said so.
func (l *loader) exposure() {
	c := l.out.Config
	if c.Auth.File == "" && !c.AllowAnonymous {
		l.conflict("allow_anonymous", "nobody could connect: it is false and there is no auth.file; give one of the two")
	}
	for _, a := range l.out.Listeners() {
		switch {
		case Loopback(a.Address):
		case a.Path == "admin_listen":
			if c.Auth.File == "" && !c.Admin.AllowAnonymous {
				l.conflict(a.Path, a.Address+" can be reached by others and operators do not prove who they are; give auth.file, write admin.allow_anonymous: true, or listen on 127.0.0.1")
			}
		case c.Auth.File == "" && !(c.AnonymousSaid && c.AllowAnonymous):
			l.conflict(a.Path, a.Address+" can be reached by others and clients do not prove who they are; give auth.file, write allow_anonymous: true, or listen on 127.0.0.1")
		}
	}
}

// Listener is one address the broker listens on.
type Listener struct {
	Path    string // the key
	Address string
	TLS     TLS
	Serves  string // what for, in words
}

// Listeners lists the listeners that are on.
func (c *Config) Listeners() []Listener {
	all := []Listener{
		{"listen", c.Listen, c.TLS, "WebSocket for MQTT, WAMP and JSON"},
		{"mqtt_listen", c.MQTTListen, c.MQTT.TLS, "MQTT without WebSocket"},
		{"admin_listen", c.AdminListen, c.Admin.TLS, "metrics and status for operators"},
	}
	return slices.DeleteFunc(all, func(l Listener) bool { return l.Address == "" })
}

// Loopback tells whether an address host:port can be reached from this machine
// only. Names other than localhost are not looked up: they count as reachable.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
