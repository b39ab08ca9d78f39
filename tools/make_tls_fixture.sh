#!/usr/bin/env bash
# Makes tests/golden/tls: a private authority (ca.pem) and a server's certificate and key for localhost and 127.0.0.1
# (server.pem), for tests of pulls over TLS. Valid for a hundred years; the authority's key is thrown away.
set -euo pipefail
out=$(cd "$(dirname "$0")/../tests/golden/tls" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -x509 -new -key ca.key -days 36500 -subj "/CN=Frugal test authority" -out ca.pem \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign"
openssl ecparam -name prime256v1 -genkey -noout -out server.key
openssl req -new -key server.key -subj "/CN=localhost" -out server.csr
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 36500 -out server.crt \
  -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n')
cp ca.pem "$out/ca.pem"
cat server.crt server.key > "$out/server.pem"
