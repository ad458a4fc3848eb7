//! `docs/wire.md` lists every field as the code has it, and its example is what the code writes.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::BytesMut;
use hezong_base::{GroupId, Term};
use hezong_codec::{FRAME_BYTES_MAX, frame};
use hezong_raft::{Body, Message};

const CODE: &str = include_str!("../src/wire.rs");
const DOCUMENT: &str = include_str!("../../../docs/wire.md");

/// Message, number, field, type.
type Field = (String, u32, String, String);

fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// The type in the words of the document, from the attribute and the Rust type.
fn kind(attribute: &str, rust: &str) -> String {
    let inner =
        rust.trim_end_matches(',').trim_start_matches("Option<").trim_start_matches("Vec<").trim_end_matches('>');
    let scalar = attribute.split([',', ' ']).next().unwrap();
    let kind = if scalar == "message" { inner } else { scalar };
    if attribute.contains("repeated") { format!("repeated {kind}") } else { kind.to_string() }
}

/// Reads `wire.rs`: structs, their fields, and the oneofs that belong to them.
fn fields_of_code() -> BTreeSet<Field> {
    let (mut found, mut owner, mut attribute) = (BTreeSet::new(), String::new(), None);
    for line in CODE.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("pub(crate) struct ").or_else(|| line.strip_prefix("pub(crate) enum ")) {
            owner = match rest.split(' ').next().unwrap() {
                "Body" => "Message",
                "Payload" => "Entry",
                "Refusal" => "Refused",
                "SnapshotBody" => "SnapshotMessage",
                name => name,
            }
            .to_string();
        } else if let Some(rest) = line.strip_prefix("#[prost(") {
            attribute = (!rest.starts_with("oneof")).then(|| rest.trim_end_matches(")]").replace(" = \"bytes\"", ""));
        } else if let Some(attribute) = attribute.take() {
            let tag = attribute.split("tag = \"").nth(1).unwrap().trim_end_matches('"').parse().unwrap();
            let (name, rust) = match line.strip_prefix("pub(crate) ") {
                Some(field) => field.split_once(": ").unwrap(),
                None => line.trim_end_matches("),").split_once('(').unwrap(),
            };
            found.insert((owner.clone(), tag, snake(name), kind(&attribute, rust)));
        }
    }
    found
}

fn fields_of_document() -> BTreeSet<Field> {
    let (mut found, mut owner) = (BTreeSet::new(), "");
    for line in DOCUMENT.lines() {
        if let Some(name) = line.strip_prefix("### ") {
            owner = name;
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let [_, number, field, kind, ..] = cells[..]
            && let Ok(number) = number.parse()
        {
            found.insert((owner.to_string(), number, field.to_string(), kind.to_string()));
        }
    }
    found
}

#[test]
fn document_lists_every_field() {
    let (code, document) = (fields_of_code(), fields_of_document());
    assert!(code.len() > 50, "the code was read");
    let missing: Vec<_> = code.difference(&document).collect();
    let stale: Vec<_> = document.difference(&code).collect();
    assert!(missing.is_empty() && stale.is_empty(), "not in the document: {missing:#?}\nnot in the code: {stale:#?}");
}

#[test]
fn document_example_is_what_is_written() {
    let body = Body::Heartbeat { round: 3, lease: Duration::from_millis(900), committed: None };
    let mut bytes = BytesMut::new();
    let message = Message { term: Term(5), body };
    frame::encode_messages(&[(GroupId(1), message)], &[], FRAME_BYTES_MAX, &mut bytes).unwrap();
    let example = DOCUMENT.split("as an example:").nth(1).unwrap().split("## Rules").next().unwrap();
    let digits = example.lines().flat_map(|line| line.split_whitespace().take_while(|word| word.len() == 2));
    let expected: Vec<_> = digits.map(|word| u8::from_str_radix(word, 16).unwrap()).collect();
    assert_eq!(format!("{:02x?}", &bytes[..]), format!("{expected:02x?}"));
}
