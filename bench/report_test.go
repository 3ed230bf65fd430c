package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/bench/load"
)

func testResult() result {
	brokers := []string{parley, mochi, mosquitto}
	took := func(broker string, round int, value float64) sample {
		return sample{Scenario: "s", Broker: broker, Round: round, Value: value, Unit: "µs/msg"}
	}
	lossy := took(mochi, 2, 8)
	lossy.Checks = load.Report{Expected: 100, Lost: 3}
	gone := took(mosquitto, 1, 0)
	gone.Error = "not installed"
	samples := []sample{took(parley, 1, 2), took(parley, 2, 3), took(mochi, 1, 8), lossy, gone}
	return result{Command: "c", When: time.Unix(0, 0), Brokers: brokers,
		Rows: []row{newRow("s", "what", "µs/msg", aim{ratio: 0.3}, brokers, samples)}}
}

func TestTablesSayWhatWasFound(t *testing.T) {
	var out bytes.Buffer
	if err := testResult().writeText(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"2.50 (2.00 - 3.00)", "8.00 (8.00 - 8.00)", "0.31 (0.25 - 0.38)", "<= 0.3 x mochi: MISSED",
		"s, mochi, round 2: of 100 deliveries lost 3", "s, mosquitto, round 1: not installed",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if _, own := testResult().faults(); own {
		t.Error("a peer's loss counts as Parley's")
	}
}

// --show of what --json wrote gives the tables of the run.
func TestJSONHoldsTheTables(t *testing.T) {
	r := testResult()
	var saved, direct, shown bytes.Buffer
	if err := r.writeJSON(&saved); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(saved.Bytes()) {
		t.Fatal("not JSON")
	}
	file := filepath.Join(t.TempDir(), "run.json")
	if err := os.WriteFile(file, saved.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.writeText(&direct); err != nil {
		t.Fatal(err)
	}
	code, err := run(t.Context(), []string{"--show", file}, &shown, &bytes.Buffer{})
	if code != 0 || err != nil || shown.String() != direct.String() {
		t.Errorf("code %d, %v; shown\n%s\nwant\n%s", code, err, shown.String(), direct.String())
	}
}

func TestCommandLine(t *testing.T) {
	var messages bytes.Buffer
	for _, bad := range [][]string{{"--nonsense"}, {"x"}, {"--rounds", "0"}, {"--scenario", "nothing"}, {"--brokers", "other"}} {
		if code, err := run(t.Context(), bad, &bytes.Buffer{}, &messages); code != 2 || err == nil {
			t.Errorf("%v: code %d, %v", bad, code, err)
		}
	}
	for names, want := range map[string]string{"": "parley,mochi,mosquitto", "idle,killed": "parley,mochi,mosquitto,mochi-bolt,nats,nats-always,rabbitmq", "offline": "parley"} {
		chosen, err := choose(names)
		if err != nil {
			t.Fatal(err)
		}
		if brokers, err := chooseBrokers("", chosen); err != nil || strings.Join(brokers, ",") != want {
			t.Errorf("%q: %v, %v", names, brokers, err)
		}
	}
	for _, sc := range durableScenarios() {
		if sc.takes(mochi, true) || !sc.takes(rabbitmq, true) || sc.durable == nil {
			t.Errorf("%s takes the wrong brokers", sc.name)
		}
	}
	o, err := parse([]string{"--quick", "--rounds", "2"}, &messages)
	if err != nil || o.rounds != 2 || o.idleConns != 1000 {
		t.Errorf("--quick must not undo what was said: %+v, %v", o, err)
	}
	chosen, err := choose("fanin,device-qos1")
	if err != nil || len(chosen) != 4 || chosen[0].name != "fanin-qos0" || chosen[2].name != "fanin-qos2" || chosen[3].name != "device-qos1" {
		t.Errorf("%v, %v", chosen, err)
	}
}

// Every plan must be one that Open takes and in which everybody hears somebody.
func TestPlans(t *testing.T) {
	o, err := parse(nil, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range scenarios() {
		if (sc.plan == nil) != (sc.special != nil) {
			t.Errorf("%s: needs a plan or a special measurement, not both", sc.name)
		}
		if sc.plan == nil {
			continue
		}
		p := sc.plan(o.settings)
		heard := 0
		for sub := range p.Subscribers {
			before := heard
			for pub := range p.Publishers {
				if p.Hears(sub, pub) {
					heard++
				}
			}
			if heard == before {
				t.Errorf("%s: subscriber %d hears nobody", sc.name, sub)
			}
		}
		if heard != max(p.Publishers, p.Subscribers) || p.Size != payloadSize || p.Burst > p.Window {
			t.Errorf("%s: %d pairs, size %d, burst %d of %d", sc.name, heard, p.Size, p.Burst, p.Window)
		}
	}
}
