# The proxy as an image of one static file. Build the binary first, on the architecture that
# the image is for (`make static` prints where it lies):
#
#   make static && docker build --build-arg BINARY=target/x86_64-unknown-linux-gnu/release .
#
# There is nothing else in it: no shell, no libc, no certificates (the roots are compiled in).
FROM scratch
ARG BINARY=target/x86_64-unknown-linux-gnu/release
COPY ${BINARY}/mcpulse-proxy /mcpulse-proxy
USER 65532:65532
ENTRYPOINT ["/mcpulse-proxy"]
