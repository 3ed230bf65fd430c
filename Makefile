# Parley. The two commands that matter: make run, make test.
# Everything else is a part of them.

SHELL := /bin/bash
GO    ?= go

# Seconds of fuzzing in all, compiling not counted.
FUZZ_BUDGET ?= 60
# Flags for make run, such as RUNFLAGS="--mqtt-listen 127.0.0.1:1883".
RUNFLAGS ?=
VERSION  ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)

.DEFAULT_GOAL := help
.PHONY: help run build test deps check unit fuzz e2e bench torture fmt clean bin/broker

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 16

build: bin/broker ## build bin/broker

bin/broker: # go build knows itself what is up to date
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/broker ./cmd/broker

run: bin/broker ## build the broker and start it, its data in ./data; it prints where the page is
	@exec bin/broker serve $(RUNFLAGS)

test: deps check unit fuzz e2e ## install what the tests need, then run all of them
	@echo "==> all passed"

deps: ## install what the tests need: npm packages, a browser, mosquitto's clients
	@.ci/deps

check: ## formatting, go vet, staticcheck
	@echo "==> gofmt"
	@unformatted=$$(gofmt -l $$(find . -name '*.go' -not -path '*/node_modules/*')); \
	  if [ -n "$$unformatted" ]; then echo "not formatted (make fmt does it):"; echo "$$unformatted"; exit 1; fi
	@echo "==> go vet"
	@$(GO) vet ./...
	@if [ -f bench/go.mod ]; then cd bench && $(GO) vet ./...; fi
	@echo "==> staticcheck"
	@$(GO) tool staticcheck ./...

unit: ## unit tests with the race detector
	@echo "==> unit tests"
	@$(GO) test -race -timeout 8m $$($(GO) list ./... | grep -v '/e2e$$')
	@cd bench && $(GO) test -race -timeout 8m ./...

fuzz: ## run every fuzz target for a few seconds
	@echo "==> fuzz"
	@FUZZ_BUDGET=$(FUZZ_BUDGET) GO="$(GO)" .ci/fuzz

e2e: ## real clients and a browser against the real binary
	@echo "==> end to end"
	@PARLEY_E2E=required $(GO) test -count=1 -timeout 10m -v ./e2e | grep -vE '^(=== (RUN|PAUSE|CONT|NAME)|    --- PASS|        --- PASS)'; exit $${PIPESTATUS[0]}

bench: ## measure, beside mochi and mosquitto; writes figures, takes minutes (BENCHFLAGS="--scenario durable": what keeping costs)
	@cd bench && $(GO) run . $(BENCHFLAGS)

torture: bin/broker ## kill the broker 1,000 times under load and prove that nothing is lost; takes half an hour
	@bin/broker torture --kill --cycles 1000 $(TORTUREFLAGS)
	go test ./persist/bolt -timeout 2h -run 'PowerCut|EveryFault|FlippedBits|NarrowFilter' -cuts 5000 -flips 3000 -haystack 10000000

fmt: ## format all Go files
	@gofmt -w $$(find . -name '*.go' -not -path '*/node_modules/*')

clean: ## remove what was built; keeps ./data
	rm -rf bin build e2e/js/node_modules
