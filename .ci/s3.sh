#!/usr/bin/env bash
# Backups in a store that speaks S3: a server process of moto, over TLS, which checks who asks as the real one does.
set -euo pipefail
cd "$(dirname "$0")/.."

hezong=${HEZONG:-target/release/hezong}
work=$(mktemp -d)
started=()
finish() { # by KILL: one that is stopped hears nothing else
  for process in "${started[@]}"; do kill -KILL "$process" 2>/dev/null && wait "$process" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT

tools=target/s3-tools
if ! [ -x $tools/bin/moto_server ]; then
  python3 -m venv $tools 2>/dev/null || { apt-get install -y -qq python3-venv >/dev/null && python3 -m venv $tools; }
  $tools/bin/pip install --quiet 'moto[server]==5.*'
fi

port=$((20000 + $$ % 10000))
taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
while taken "$port" || taken $((port + 1)) || taken $((port + 2)); do port=$((port + 3)); done

# The first four requests make a user; from then on only what that user signed is done.
"$hezong" cert authority "$work/secrets" >/dev/null
"$hezong" cert node store --host 127.0.0.1 --authority "$work/secrets" --out "$work/store" >/dev/null
INITIAL_NO_AUTH_ACTION_COUNT=4 $tools/bin/moto_server -H 127.0.0.1 -p "$port" --ssl \
  --ssl-cert "$work/store/store.pem" --ssl-key "$work/store/store.key" >"$work/moto.log" 2>&1 &
started+=($!)
export AWS_ENDPOINT_URL=https://127.0.0.1:$port AWS_CA_BUNDLE=$work/secrets/ca.pem AWS_DEFAULT_REGION=us-east-1
soon() { # a command that must succeed within 30 s
  local until=$((SECONDS + 30))
  until "$@" 2>/dev/null; do
    if [ $SECONDS -ge $until ]; then echo "s3: waited 30 s in vain for: $*" >&2; return 1; fi
    sleep 0.1
  done
}
soon taken "$port"
$tools/bin/python - >"$work/user" <<'PYTHON'
import boto3, json
allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
iam = boto3.client("iam", aws_access_key_id="none", aws_secret_access_key="none")
iam.create_user(UserName="backup")
iam.put_user_policy(UserName="backup", PolicyName="s3", PolicyDocument=json.dumps(allow))
key = iam.create_access_key(UserName="backup")["AccessKey"]
boto3.client("s3", aws_access_key_id="none", aws_secret_access_key="none").create_bucket(Bucket="vault")
print(f"export AWS_ACCESS_KEY_ID={key['AccessKeyId']} AWS_SECRET_ACCESS_KEY={key['SecretAccessKey']}")
PYTHON
. "$work/user"

# Does with the stored objects what Python says.
store() { $tools/bin/python -c "import boto3; s3 = boto3.client('s3'); $1"; }
says() { # what must be said, then a command that must fail
  local words=$1 said
  shift
  if said=$("$@" 2>&1); then echo "s3: this should have failed: $*" >&2; return 1; fi
  grep -q -- "$words" <<<"$said" || { echo "s3: no \"$words\" in: $said" >&2; return 1; }
  if grep -qF -- "$AWS_SECRET_ACCESS_KEY" <<<"$said"; then echo "s3: the secret was said" >&2; return 1; fi
}
nothing_half_done() {
  store "assert not s3.list_multipart_uploads(Bucket='vault').get('Uploads'), 'an upload is left half done'"
}
node() { # id, folder, the first of two ports, more
  "$hezong" node --id "$1" --http "127.0.0.1:$3" --peer "127.0.0.1:$(($3 + 1))" --disk-reserve 0 "${@:4}" "$2" 2>"$work/$1.log" &
  started+=($!)
}

node node01 "$work/node01" $((port + 1)) --bootstrap
export HEZONG_ENDPOINTS=127.0.0.1:$((port + 1))
# More than one part of 16 MiB.
head -c 780000 /dev/urandom | base64 -w0 >"$work/value"
for n in $(seq 17); do "$hezong" put --timeout 60 "big/$n" - <"$work/value" >/dev/null; done
"$hezong" put greeting hello >/dev/null

"$hezong" backup s3://vault/daily/monday.hez | grep "holds: 18 keys"
"$hezong" backup --check s3://vault/daily/monday.hez | grep "is whole: 18 keys"
store "assert [o['Key'] for o in s3.list_objects_v2(Bucket='vault')['Contents']] == ['daily/monday.hez']"
store "assert s3.head_object(Bucket='vault', Key='daily/monday.hez')['ETag'].endswith('-2\"'), 'one part only'"
says "is there already" "$hezong" backup s3://vault/daily/monday.hez
"$hezong" backup --force s3://vault/daily/monday.hez >/dev/null

says "no bucket" "$hezong" backup s3://cellar/monday.hez
says "is not there" "$hezong" backup --check s3://vault/daily/tuesday.hez
AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE says "lets these credentials do nothing" "$hezong" backup s3://vault/other.hez
AWS_SECRET_ACCESS_KEY=wrong says "lets these credentials do nothing" "$hezong" backup s3://vault/other.hez
AWS_CA_BUNDLE='' says "invalid peer certificate" "$hezong" backup s3://vault/other.hez
AWS_ENDPOINT_URL=http://192.0.2.1 says "AWS_ALLOW_HTTP" "$hezong" backup s3://vault/other.hez
says "is the cluster up" "$hezong" backup s3://vault/other.hez -e 127.0.0.1:1 --timeout 1
nothing_half_done

store "b = bytearray(s3.get_object(Bucket='vault', Key='daily/monday.hez')['Body'].read()); b[len(b) // 2] ^= 16
s3.put_object(Bucket='vault', Key='flipped', Body=bytes(b))
s3.put_object(Bucket='vault', Key='cut', Body=bytes(b[:len(b) // 3]))"
for bad in "flipped damaged at offset" "cut cut short"; do
  says "${bad#* }" "$hezong" backup --check "s3://vault/${bad%% *}"
  says "${bad#* }" "$hezong" restore "s3://vault/${bad%% *}" "$work/no" --id a --http h:1 --peer h:2
done
[ ! -e "$work/no" ]

# Ctrl-C while the cluster is silent: the upload that was begun goes.
kill -STOP "${started[1]}"
"$hezong" backup s3://vault/other.hez --timeout 60 2>"$work/said" &
backup=$!
soon store "assert s3.list_multipart_uploads(Bucket='vault').get('Uploads')"
kill -INT "$backup"
if wait "$backup"; then exit 1; fi
grep -q interrupted "$work/said"
nothing_half_done
kill -CONT "${started[1]}"

kill "${started[1]}" && wait "${started[1]}" || true
"$hezong" restore s3://vault/daily/monday.hez "$work/node02" --id node02 --http "127.0.0.1:$((port + 1))" \
  --peer "127.0.0.1:$((port + 2))"
node node02 "$work/node02" $((port + 1))
[ "$("$hezong" get --timeout 60 greeting)" = hello ]
[ "$("$hezong" scan --keys-only | wc -l)" = 18 ]
for n in 1 17; do "$hezong" get --raw "big/$n" | cmp - "$work/value"; done
echo "s3: backups go to a store, are checked there, and come back"
