# Without a target: what there is.
.DEFAULT_GOAL := help
GO ?= go
DATA ?= raftmq-data
COMMIT = $(shell git describe --always --dirty 2>/dev/null)
# What a simulation needs, see jepsen/sim.
SIMULATION = -tags simulation -ldflags=-checklinkname=0

.PHONY: help build stockclient run test race lint conformance oracle examples rows jepsen sim bench microbench fuzz demo clean

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/raftmq, bin/jepsen and the test build that it breaks, bin/raftmq-faults
	$(GO) build -o bin/raftmq ./cmd/raftmq
	$(GO) build -tags faults -o bin/raftmq-faults ./cmd/raftmq
	$(GO) build $(SIMULATION) -o bin/jepsen ./cmd/jepsen

stockclient: ## build bin/stockclient, RocketMQ's own Go client for the suite's workload "stock"
	cd conformance && $(GO) build -o ../bin/stockclient ./stockclient

run: build ## three nodes on this machine, in the foreground; prints their addresses
	bin/raftmq dev --data $(DATA)

test: ## every promise once, sizes scaled
	$(GO) test -count=1 -timeout 20m ./...
	$(GO) test $(SIMULATION) -count=1 -timeout 10m ./jepsen/sim

race: ## the same with the race detector
	$(GO) test -race -short -count=1 -timeout 30m ./...

conformance: build ## RocketMQ's own Go and Java clients against three processes that are killed
	cd conformance && RAFTMQ_KILLS=$${KILLS:-6} $(GO) test -count=1 -timeout 30m -v ./...

oracle: build ## the same 1,200 requests to RocketMQ's own broker, 5.4.0, and to ours, each answer compared (wants mvn and a JDK)
	cd conformance && RAFTMQ_ORACLE=1 $(GO) test -count=1 -timeout 20m -v -run 'TestOracle$$' .

examples: ## the example with SQLite, a module of its own; the others are part of make test
	cd examples/once && $(GO) test -count=1 -timeout 5m -v ./...

lint: ## formatting and vet, for darwin too
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	$(GO) vet -tags faults ./cmd/raftmq
	$(GO) vet -tags simulation ./jepsen/sim
	cd conformance && $(GO) vet ./... && GOOS=darwin $(GO) vet ./...
	cd examples/once && $(GO) vet ./...
	cd bench && $(GO) vet ./... && GOOS=darwin $(GO) vet ./...

rows: build ## real processes killed, stopped, continued and wiped under load; full disks; bytes that decay; power cuts of whole clusters
	bin/raftmq bench failover --kills $${KILLS:-10}
	bin/raftmq bench failover --kills $${KILLS:-10} --fault pause
	bin/raftmq bench failover --kills $${KILLS:-10} --fault suffix
	bin/raftmq bench failover --kills $${KILLS:-10} --fault wipe
	bin/raftmq bench restart --size $${RESTART_SIZE:-500MB} --restarts 3 --within 30s
	RAFTMQ_PROGRAM=$(CURDIR)/bin/raftmq $(GO) test -count=1 -run ARealProcess -v ./raftlog
	RAFTMQ_CUTS=$${CUTS:-100} $(GO) test -count=1 -timeout 30m -run PowerCuts -v ./internal/mqtest
	RAFTMQ_DAMAGE=1 $(GO) test -count=1 -timeout 10m -run 'ThatDiffers|AfterAPowerCut|OnARealDisk|DamagedIndex' -v ./internal/mqtest
	RAFTMQ_DAMAGE=1 $(GO) test -count=1 -run 'DamagedFiles|DamageThatCannot' -v ./cmd/raftmq
	RAFTMQ_TIMERS=$${TIMERS:-10000000} $(GO) test -count=1 -timeout 10m -run ManyMessagesWait -v ./fsm
	RAFTMQ_NETNS=1 $(GO) test -count=1 -run ThreeHosts -v ./cmd/raftmq
	RAFTMQ_TMPFS=1 $(GO) test -count=1 -run FullDisks -v ./cmd/raftmq
	RAFTMQ_FEATURES=$(CURDIR)/bin/raftmq $(GO) test -count=1 -timeout 15m -run Features -v ./internal/features
	RAFTMQ_JEPSEN=$(CURDIR)/bin/raftmq $(GO) test -count=1 -run 'ARealRun|OnEachBackend' -v ./cmd/jepsen
	cd examples/once && $(GO) test -count=1 -timeout 5m ./...
	cd conformance && RAFTMQ_KILLS=$${KILLS:-10} $(GO) test -count=1 -timeout 30m -run 'Killed|Java' -v ./...
	cd bench && $(GO) build -o ../bin/nats-server github.com/nats-io/nats-server/v2 && $(GO) test -count=1 -short -timeout 5m -v ./...

jepsen: build ## three nodes, broken in every way by a seed, every answer judged
	bin/jepsen test --workload $${JEPSEN_WORKLOAD:-mixed} --nemesis $${JEPSEN_NEMESIS:-all} --time-limit $${JEPSEN_TIME:-5m} --rate $${JEPSEN_RATE:-200} --store $${JEPSEN_STORE:-jepsen-store}

sim: build ## three nodes in simulated time under many seeds, each judged; goes on where it was broken off
	bin/jepsen sim --seeds $${SEEDS:-200} --from $${FROM:-1} --store $${SIM_STORE:-jepsen-sim}

bench: build ## the table against NATS JetStream, row by row; goes on where it was broken off (ROWS=a,b, BENCH=--fresh, NATS=a program)
	cd bench && $(GO) build -o ../bin/bench .
	$(if $(NATS),,cd bench && $(GO) build -o ../bin/nats-server github.com/nats-io/nats-server/v2)
	$(if $(shell command -v mvn),mvn -q -B -f conformance/oracle/pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/bin/rocketmq)
	bin/bench --commit "$(COMMIT)" --nats "$(or $(NATS),bin/nats-server)" --rocketmq "$(if $(shell command -v mvn),bin/rocketmq)" --rows "$(ROWS)" $(BENCH)

microbench: ## micro-benchmarks of filters, store, machines, logs and frames
	$(GO) test -run '^$$' -bench . -benchtime 2s ./filter ./store ./fsm ./raftlog ./remoting

demo: build ## the Go source tree through a cluster whose leaders are killed
	bin/raftmq bench files --kills 3

fuzz: ## each decoder for a while
	@for p in message filter remoting raftlog store fsm client membership broker cmd/raftmq jepsen/history jepsen/netns jepsen/run; do \
	  for f in $$($(GO) test ./$$p -list '^Fuzz' | grep ^Fuzz); do \
	    $(GO) test ./$$p -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-10s} || exit 1; done; done

clean: ## remove what was built
	rm -rf bin
