# Thin lines over cargo; CONTRIBUTING.md says what each is for.
.PHONY: bench bench-kube check conformance deny doc fmt fuzz lint matrix run soak static test test-cluster test-kube

TARGET = $(or $(CARGO_TARGET_DIR),target)
RELEASE = $(TARGET)/release
HOST = $(shell rustc -vV | sed -n 's/^host: //p')

check: fmt lint deny doc test

fmt:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings

deny:
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses sources; \
	else echo "cargo-deny is not installed: licences and bans are not checked"; fi

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# SERVER='npx -y …' is the server to run; KEEP=1 keeps everything up at the end.
run:
	cargo build --locked --bins
	@SERVER='$(SERVER)' KEEP='$(KEEP)' cargo run --locked --quiet --bin demo

# What the tests of the chart need.
CHART = { tests/helm/build $(TARGET)/helm && tests/tools/prometheus $(TARGET)/prometheus; }

# The tools, Helm and Kubernetes are made while the tests compile.
test:
	@tests/tools/install & tools=$$!; \
	tests/kube/build $(TARGET)/kube & kube=$$!; \
	$(CHART) & chart=$$!; \
	cargo test --workspace --locked --no-run; built=$$?; \
	wait $$tools && wait $$kube && wait $$chart && exit $$built
	cargo test --workspace --locked

# Writes what the official suite finds into the table of README.md, which the tests compare.
conformance:
	tests/tools/install
	cargo build --workspace --locked --bins
	MCPULSE_TOOLS=required MCPULSE_CONFORMANCE=write \
	cargo test --workspace --locked --test e2e conformance::

# Every real client with every real server on every two transports.
matrix:
	MCPULSE_TOOLS=required tests/tools/install
	cargo build --workspace --locked --bins
	MCPULSE_TOOLS=required $(TARGET)/debug/matrix $(ARGS)

# Many sessions for a long time through both bridges; ARGS='--seconds 60' for less.
soak:
	tests/tools/install
	cargo build --workspace --locked --bins
	$(TARGET)/debug/soak $(ARGS)

# Real servers in real pods, which takes root and Debian's packages; not in `make test` yet.
test-cluster:
	tests/tools/install
	tests/kube/install
	tests/kube/build $(TARGET)/kube
	tests/helm/build $(TARGET)/helm
	tests/images/build
	cargo test -p mcpulse-tests --locked --test cluster

# The operator's on a real API server, e.g. VERSION=v1.30.14; builds that first.
test-kube:
	tests/kube/build $(TARGET)/kube $(VERSION)
	@$(CHART)
	MCPULSE_KUBE_VERSION=$(VERSION) cargo test -p mcpulse-tests --locked --test kubernetes

# The proxy beside the least that any proxy would cost; ARGS is passed on, see --help. Then what
# injection costs.
bench:
	cargo build --release --locked -p mcpulse-proxy -p mcpulse-bench
	$(RELEASE)/mcpulse-bench run --proxy $(RELEASE)/mcpulse-proxy --json $(RELEASE)/bench.json $(ARGS)
	$(MAKE) bench-kube

# The admission of pods by every engine, and the operator among many: on the Kubernetes that
# tests/kube/build has made, or none is measured, with the remedy.
bench-kube:
	cargo build --release --locked -p mcpulse-operator
	MCPULSE_OPERATOR=$(abspath $(RELEASE))/mcpulse-operator cargo test -p mcpulse-tests --locked \
	--test kubernetes bench:: -- --ignored --nocapture --test-threads=1

# Each target for TIME seconds; needs the nightly compiler and `cargo install cargo-fuzz`.
TIME ?= 600
fuzz:
	for target in envelope events failure lines observer; do \
	cargo +nightly fuzz run $$target -- -max_total_time=$(TIME) -max_len=4096 || exit 1; done

# Files without libc, of which the Dockerfile makes images; the explicit target keeps build scripts
# and macros dynamic. The shim is less than half as large with
# SHIM_TARGET=x86_64-unknown-linux-musl, after `rustup target add` of that.
SHIM_TARGET ?= $(HOST)
ARCH = $(shell uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
static:
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target $(HOST) \
	-p mcpulse-proxy -p mcpulse-operator
	RUSTFLAGS="-C target-feature=+crt-static" \
	cargo build --profile shim --locked --target $(SHIM_TARGET) -p mcpulse-shim
	mkdir -p $(TARGET)/static/$(ARCH)
	cp $(TARGET)/$(HOST)/release/mcpulse-proxy $(TARGET)/$(HOST)/release/mcpulse-operator \
	$(TARGET)/$(SHIM_TARGET)/shim/mcpulse-shim $(TARGET)/static/$(ARCH)
