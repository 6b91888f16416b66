# The images: static programs and nothing else, no shell, no libc, no certificates (the roots are
# compiled in). `make static`, on each architecture that they are for, puts the programs below
# target/static by their architecture; then, with any builder,
#
#   docker build --target proxy --file Dockerfile target/static
#   docker buildx build --target operator --platform linux/amd64,linux/arm64 --file Dockerfile target/static

FROM scratch AS operator
# amd64 or arm64; builders that know of platforms set it.
ARG TARGETARCH
COPY ${TARGETARCH}/mcpulse-operator /
USER 65532:65532
ENTRYPOINT ["/mcpulse-operator"]

# The shim is for the containers of servers on standard streams: the proxy puts it there.
FROM scratch AS proxy
ARG TARGETARCH
COPY ${TARGETARCH}/mcpulse-proxy ${TARGETARCH}/mcpulse-shim /
USER 65532:65532
ENTRYPOINT ["/mcpulse-proxy"]
