# A static broker on an empty image, not as root.
#
#   docker build --build-arg VERSION=1.0.0 -t parley .
#   docker run -p 8080:8080 -v parley:/data -v ./users:/etc/parley/users:ro \
#       -e PARLEY_AUTH_FILE=/etc/parley/users parley
#
# In a container it has to listen on all addresses, so it starts only with
# authentication (PARLEY_AUTH_FILE, readable for user 65532) or with
# PARLEY_ALLOW_ANONYMOUS=true written out. Every key of the configuration is an
# environment variable; a file is named by PARLEY_CONFIG. The environment wins over
# the file, so listen and data of a file have no effect here.

FROM golang:1.26-trixie AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/broker ./cmd/broker \
 && mkdir /out/data

FROM scratch
# The certificates of public authorities, for --url wss://… of the shell clients.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/broker /broker
# A named volume takes over the owner of the directory it is mounted on.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV PARLEY_LISTEN=0.0.0.0:8080 \
    PARLEY_DATA=/data
EXPOSE 8080
VOLUME /data
STOPSIGNAL SIGTERM
# health finds the address in the same configuration as serve. It says 503 while
# the broker drains or its store has failed.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/broker", "health"]
ENTRYPOINT ["/broker"]
CMD ["serve"]
