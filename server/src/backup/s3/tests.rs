//! Against a store in memory, and one that answers a single request.

use object_store::PutPayload;
use object_store::memory::InMemory;

use super::*;

fn found(variables: &[(&str, &str)]) -> Result<Found> {
    Found::read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn environment_is_read_as_aws_tools_do() {
    let keys = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "hush")];
    let plain = found(&keys).unwrap();
    assert_eq!((plain.region.as_str(), plain.endpoint, plain.token), ("us-east-1", None, None));
    let with = |more: &[(&'static str, &'static str)]| found(&[&keys[..], more].concat());
    let both = [("AWS_ENDPOINT_URL", "https://all:1"), ("AWS_ENDPOINT_URL_S3", "https://s3:1"), ("AWS_REGION", "eu-x")];
    let told = with(&both).unwrap();
    assert_eq!((told.region.as_str(), told.endpoint.as_deref()), ("eu-x", Some("https://s3:1")));

    for (missing, rest) in [("AWS_ACCESS_KEY_ID", &keys[1..]), ("AWS_SECRET_ACCESS_KEY", &keys[..1])] {
        let error = found(rest).err().unwrap().to_string();
        assert!(error.starts_with(missing) && !error.contains("hush"), "{error}");
    }
}

#[test]
fn endpoint_in_the_clear_is_of_this_machine_or_allowed() {
    for fine in ["https://store:9000", "http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"] {
        assert!(check_endpoint(fine, false).is_ok(), "{fine}");
    }
    // The second does not resolve, and the third is no loopback address though it begins like one.
    for beyond in ["http://192.0.2.1:9000", "http://store.invalid:9000", "http://127.0.0.1.invalid:9000"] {
        assert!(check_endpoint(beyond, true).is_ok(), "{beyond}");
        let error = check_endpoint(beyond, false).unwrap_err().to_string();
        assert!(error.contains("AWS_ALLOW_HTTP"), "{error}");
    }
    for bad in ["store:9000", "/store", "ftp://store", "https://user:hush@store", "not a url"] {
        let error = check_endpoint(bad, true).unwrap_err().to_string();
        assert!(error.contains("AWS_ENDPOINT_URL") && !error.contains("hush"), "{error}");
    }
}

#[test]
fn reader_gives_what_was_there_when_it_began() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let store = Arc::new(InMemory::new());
    let key = Key::from("monday");
    let content: Vec<u8> = (0..READ_BYTES * 2 + 1_000).map(|n| (n * 7 / 5 % 251) as u8).collect();
    let put = |bytes: Vec<u8>| runtime.block_on(store.put(&key, PutPayload::from(bytes))).unwrap();
    put(content.clone());
    let _inside = runtime.enter();
    let object = || Object { name: "s3://b/monday".to_owned(), store: Arc::clone(&store) as _, key: key.clone() };
    let mut reader = object().read().unwrap();
    assert_eq!(reader.size(), content.len() as u64);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == content);

    let mut reader = object().read().unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    put(vec![1; content.len()]);
    assert!(reader.read_to_end(&mut Vec::new()).is_err(), "another one is there by now");
    let gone = Object { key: Key::from("tuesday"), ..object() };
    assert!(!runtime.block_on(gone.exists()).unwrap());
}

/// What a store answers one request with, and what it was asked.
fn answer(status: &'static str, body: &'static str) -> (String, std::thread::JoinHandle<String>) {
    use std::io::Write as _;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
        String::from_utf8(head).unwrap().to_lowercase()
    });
    (endpoint, asked)
}

fn store_at(endpoint: &str, keep: bool) -> Object {
    let store = AmazonS3Builder::new()
        .with_bucket_name("b")
        .with_access_key_id("AKIA")
        .with_secret_access_key("hush")
        .with_token("hush hush")
        .with_endpoint(endpoint)
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .with_http_connector(Connector::new(None, keep).unwrap())
        .build()
        .unwrap();
    Object { name: "s3://b/k".to_owned(), store: Arc::new(store), key: Key::from("k") }
}

#[tokio::test]
async fn refusal_is_told_without_what_it_repeats() {
    let body = "<Error><Code>SignatureDoesNotMatch</Code><CanonicalRequest>hush hush</CanonicalRequest></Error>";
    let (endpoint, _) = answer("403 Forbidden", body);
    let error = format!("{:#}", store_at(&endpoint, true).begin().await.unwrap_err());
    assert!(error.contains("403 Forbidden: SignatureDoesNotMatch") && error.contains("s3://b/k"), "{error}");
    assert!(!error.contains("hush"), "{error}");
}

#[tokio::test]
async fn completion_replaces_nothing_unless_told() {
    for keep in [true, false] {
        let (endpoint, asked) = answer("412 Precondition Failed", "<Error><Code>PreconditionFailed</Code></Error>");
        let service = Connector::new(None, keep).unwrap();
        let client = object_store::client::HttpConnector::connect(&service, &Default::default()).unwrap();
        let request = hyper::Request::post(format!("{endpoint}/b/k?uploadId=7")).body(Vec::new().into()).unwrap();
        assert_eq!(client.execute(request).await.unwrap().status(), 412);
        assert_eq!(asked.join().unwrap().contains("if-none-match: *"), keep);
    }
}
