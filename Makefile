# Thin lines over cargo; CONTRIBUTING.md says what each is for.
.PHONY: check fmt lint deny doc run test

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

# The tools are installed while the tests compile.
test:
	@tests/tools/install & tools=$$!; \
	cargo test --workspace --locked --no-run; built=$$?; \
	wait $$tools && exit $$built
	cargo test --workspace --locked
