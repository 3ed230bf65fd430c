package config

import "testing"

// What is wrong is said with its place, the path of the key and the rule.
func TestProblems(t *testing.T) {
	for name, tc := range map[string]struct {
		file  string
		env   []string
		flags map[string]string
		want  string // all problems
	}{
		"number": {
			file: "listen: 127.0.0.1:1\n\ngateway:\n  limits:\n    connections: 0\n",
			want: "parley.yaml:5: gateway.limits.connections: 0 is not allowed; give a number from 1 to 10,000,000",
		},
		"number with a fraction": {
			file: "gateway: {limits: {connections: 1.5}}",
			want: "parley.yaml:1: gateway.limits.connections: 1.5 is not allowed; give a number from 1 to 10,000,000",
		},
		"boolean": {
			file: "playground: yes\n",
			want: "parley.yaml:1: playground: yes is not allowed; give true or false",
		},
		"empty value": {
			file: "data:\n",
			want: "parley.yaml:1: data: an empty value is not allowed; give a directory",
		},
		"duration without unit": {
			file: "drain:\n  spread: 10\n",
			want: "parley.yaml:2: drain.spread: 10 is not allowed; give a duration from 0s to 10m, such as 10s or 1m30s",
		},
		"size": {
			file: "gateway:\n  limits: {message: 1 GB}\n",
			want: "parley.yaml:2: gateway.limits.message: \"1 GB\" is not allowed; give a size from 1KiB to 256MiB, such as 64KiB or 1MiB",
		},
		"size overflows": {
			file: "store:\n  max_bytes: 9999999999TiB\n",
			want: "parley.yaml:2: store.max_bytes: 9999999999TiB is not allowed; give a size from 0 to 1024TiB, such as 64KiB or 1MiB",
		},
		"address": {
			file: "listen: 8080\n",
			want: "parley.yaml:1: listen: 8080 is not allowed; give host:port with a port from 0 to 65535, such as 127.0.0.1:8080",
		},
		"port": {
			file: "listen: 127.0.0.1:http\nmqtt_listen: 127.0.0.1:65536",
			want: "parley.yaml:1: listen: 127.0.0.1:http is not allowed; give host:port with a port from 0 to 65535, such as 127.0.0.1:8080\n" +
				"parley.yaml:2: mqtt_listen: 127.0.0.1:65536 is not allowed; give host:port with a port from 0 to 65535, such as 127.0.0.1:8080, or \"\" for none",
		},
		"choice": {
			file: "log: {format: xml}",
			want: "parley.yaml:1: log.format: xml is not allowed; give one of text, json",
		},
		"unknown key": {
			file: "gateway:\n  limits:\n    conections: 5\n",
			want: "parley.yaml:3: gateway.limits.conections: unknown key; did you mean gateway.limits.connections?",
		},
		"key of another section": {
			file: "connections: 5\n",
			want: "parley.yaml:1: connections: unknown key; did you mean gateway.limits.connections?",
		},
		"unknown section": {
			file: "gatewya:\n  limits: {}\n",
			want: "parley.yaml:1: gatewya: unknown key; did you mean gateway?",
		},
		"nothing near": {
			file: "drain: {frobnicate: 1}\n",
			want: "parley.yaml:1: drain.frobnicate: unknown key; known here are spread, grace",
		},
		"twice": {
			file: "data: a\nlisten: 127.0.0.1:1\ndata: b\n",
			want: "parley.yaml:3: data: is already there in line 1; remove one",
		},
		"section is a word": {
			file: "gateway: on\n",
			want: "parley.yaml:1: gateway: on is not allowed; give a mapping of keys",
		},
		"list for a word": {
			file: "listen: [a]\n",
			want: "parley.yaml:1: listen: a list is not allowed; give host:port with a port from 0 to 65535, such as 127.0.0.1:8080",
		},
		"alias": {
			file: "data: &d x\nlisten: *d\n",
			want: "parley.yaml:2: listen: an alias (*d) is not allowed; give host:port with a port from 0 to 65535, such as 127.0.0.1:8080",
		},
		"not YAML in the first line": {
			file: "\tlisten: 127.0.0.1:1\n",
			want: "parley.yaml:1: not YAML: found character that cannot start any token",
		},
		"not UTF-8": {
			file: "listen: 127.0.0.1:1\ndata: \xff\n",
			want: "parley.yaml:2: not YAML: invalid leading UTF-8 octet",
		},
		"alias without anchor": {
			file: "listen: 127.0.0.1:1\n\ndata: *x\n",
			want: "parley.yaml:3: not YAML: unknown anchor 'x' referenced",
		},
		"not YAML": {
			file: "listen: 'x\n",
			want: "parley.yaml:2: not YAML: found unexpected end of stream",
		},
		"two documents": {
			file: "data: a\n---\ndata: b\n",
			want: "parley.yaml:2: a second document; give one configuration in a file",
		},
		"list element": {
			file: "gateway:\n  paths:\n    - /ws\n    - ws\n",
			want: "parley.yaml:4: gateway.paths[1]: ws is not allowed; give a path that begins with /",
		},
		"alias of a protocol": {
			file: "gateway:\n  aliases:\n    mine: mqtt5\n",
			want: "parley.yaml:3: gateway.aliases.mine: mqtt5 is not allowed; give one of mqtt, mqttv3.1, wamp.2.json, wamp.2.msgpack, wamp.2.cbor, json, centrifuge-json",
		},
		"namespace without a name": {
			file: "namespaces:\n  - realms: [a]\n",
			want: "parley.yaml:2: namespaces[0].name: is missing; give a name of 1 to 128 letters, digits and . _ - @ :",
		},
		"unknown field of a namespace": {
			file: "namespaces:\n  - name: default\n    realm: [a]\n",
			want: "parley.yaml:3: namespaces[0]: unknown key realm; did you mean realms?",
		},
		"realm twice": {
			file: "namespaces:\n- {name: default, realms: [a]}\n- {name: other, realms: [a]}\n",
			want: "parley.yaml:1: namespaces: realm a leads to both default and other; give each name once",
		},
		"default namespace": {
			file: "namespaces: [{name: one}, {name: two}]\n",
			want: "default_namespace: default is not allowed; give the name of one of the namespaces: one, two",
		},
		"rule with both": {
			file: "auth:\n  rules:\n    - allow: [publish]\n      deny: [call]\n",
			want: "parley.yaml:3: auth.rules[0]: a rule says either allow or deny; give exactly one of them, with one of publish, subscribe, call, register",
		},
		"filter of a rule": {
			file: "auth:\n  rules:\n    - allow: [publish]\n      topics: ['a/#/b']\n",
			want: "parley.yaml:4: auth.rules[0].topics[0]: \"a/#/b\" is not allowed; give a topic filter such as sensors/+/temperature or sensors/#",
		},
		"store rule": {
			file: "store:\n  topics: [{filter: a, store: some}]\n",
			want: "parley.yaml:2: store.topics[0].store: some is not allowed; give one of acknowledged, all, none",
		},
		"store that holds nothing": {
			file: "store: {max_bytes: 4KiB}",
			want: "parley.yaml:1: store.max_bytes: 4KiB is not allowed; give 0 for no bound, or at least 1MiB",
		},
		"half a second in MQTT": {
			file: "mqtt:\n  session_expiry: 1500ms\n",
			want: "parley.yaml:2: mqtt.session_expiry: 1.5s is not allowed; give whole seconds",
		},
		"topic for answers": {
			file: "mqtt:\n  response_topics: $SYS/answers\n",
			want: "parley.yaml:2: mqtt.response_topics: $SYS/answers is not allowed; give a topic that may be published to, or \"\" for none",
		},
		"namespace of a rule": {
			file: "auth:\n  rules: [{allow: [publish], namespaces: [defualt]}]\n",
			want: "parley.yaml:2: auth.rules: rule 1: namespace defualt does not exist; did you mean default?",
		},
		"half of TLS": {
			file: "tls:\n  cert: a.pem\n",
			want: "parley.yaml:2: tls.cert: is given without tls.key; give both or neither",
		},
		"same port": {
			file: "listen: 127.0.0.1:99\nmqtt_listen: 127.0.0.1:99\n",
			want: "parley.yaml:2: mqtt_listen: 127.0.0.1:99 is already taken by listen; give another port",
		},
		"nobody": {
			file: "allow_anonymous: false\n",
			want: "parley.yaml:1: allow_anonymous: nobody could connect: it is false and there is no auth.file; give one of the two",
		},
		"environment": {
			env: []string{"PARLEY_GATEWAY_LIMITS_CONNECTIONS=x", "PARLEY_NAMESPACES=[{name: a b}]"},
			want: "PARLEY_NAMESPACES: namespaces[0].name: \"a b\" is not allowed; give a name of 1 to 128 letters, digits and . _ - @ :\n" +
				"PARLEY_GATEWAY_LIMITS_CONNECTIONS: gateway.limits.connections: x is not allowed; give a number from 1 to 10,000,000",
		},
		"flag": {
			flags: map[string]string{"listen": "x", "drain.sprad": "1s"},
			want: "--set: drain.sprad: unknown key; did you mean drain.spread?\n" +
				"--listen: listen: x is not allowed; give host:port with a port from 0 to 65535, such as 127.0.0.1:8080",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tc.file, tc.env, tc.flags)
			if err == nil {
				t.Fatal("accepted")
			}
			if err.Error() != tc.want {
				t.Errorf("\n got %s\nwant %s", err, tc.want)
			}
		})
	}
}
