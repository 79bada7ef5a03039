//! What `--json` prints is published, with a version. Every test that runs `ctl --json` holds it against that schema
//! (`published::conform`); here is that a published one stays as it is.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod published;

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Every schema that was published, and its print. One that has another print than stands here has changed: that takes the
/// next number (`SCHEMA` in ctl/src/json.rs, a file docs/ctl-json-N.schema.json beside the former one, a line here).
const PUBLISHED: &[(u64, u64)] = &[(1, 14_413_958_157_720_214_054)];

/// FNV-1a, of the schema without its layout and its descriptions.
fn print(schema: &Value) -> u64 {
    fn bare(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let kept = map.iter().filter(|(key, value)| *key != "description" || !value.is_string());
                let sorted: BTreeMap<String, Value> =
                    kept.map(|(key, value)| (key.clone(), bare(value))).collect();
                Value::Object(sorted.into_iter().collect())
            }
            Value::Array(all) => Value::Array(all.iter().map(bare).collect()),
            other => other.clone(),
        }
    }
    let step = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bare(schema).to_string().bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[test]
fn a_published_schema_stays_as_it_is() {
    let schema = published::schema();
    let (number, known) = PUBLISHED.last().copied().unwrap();
    let now = print(&schema);
    assert_eq!(now, known, "schema {number} has changed: give it the next number (see PUBLISHED)");
    for document in schema["anyOf"].as_array().unwrap() {
        assert_eq!(document["properties"]["schema"], json!({ "const": number }));
    }
}

#[test]
fn what_is_not_in_the_schema_is_noticed() {
    let said = |line: &'static str| std::panic::catch_unwind(|| published::conform(line)).is_err();
    assert!(!said(r#"{"schema":1,"reloaded":true}"#));
    for line in [
        r#"{"schema":2,"reloaded":true}"#,
        r#"{"schema":1,"reloaded":"yes"}"#,
        r#"{"schema":1,"reloaded":true,"more":1}"#,
        r#"{"schema":1,"connection":{"name":"corp"}}"#,
        r#"{"schema":1}"#,
    ] {
        assert!(said(line), "{line}");
    }
}
