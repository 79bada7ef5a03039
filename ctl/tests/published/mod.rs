//! `docs/ctl-json-N.schema.json`, and whether a document is as it says. Of JSON Schema this knows what that file uses, and
//! takes nothing else.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use serde_json::Value;

const TEXT: &str = include_str!("../../../docs/ctl-json-1.schema.json");

/// The schema.
pub(crate) fn schema() -> Value {
    serde_json::from_str(TEXT).unwrap()
}

/// Every line is a document of the schema.
pub(crate) fn conform(lines: &str) {
    let schema = schema();
    for line in lines.lines() {
        let document: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        // Of what fits no alternative, that one tells most that is of the same keys.
        let all = schema["anyOf"].as_array().unwrap();
        let why: Vec<String> = all.iter().map_while(|one| fits(&schema, one, &document, "").err()).collect();
        assert!(
            why.len() < all.len(),
            "docs/ctl-json-1.schema.json does not have it: {line}\n{}",
            why.join("\n")
        );
    }
}

fn fits(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let rules = schema.as_object().unwrap();
    for (key, rule) in rules {
        let good = match key.as_str() {
            "description" => true,
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                fits(root, &root["$defs"][name], value, at)?;
                true
            }
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "type" => is(rule.as_str().unwrap(), value),
            "minimum" => value.as_u64() >= rule.as_u64(),
            "anyOf" => rule.as_array().unwrap().iter().any(|one| fits(root, one, value, at).is_ok()),
            "items" => {
                let mut items = value.as_array().into_iter().flatten().enumerate();
                items.try_for_each(|(n, item)| fits(root, rule, item, &format!("{at}/{n}")))?;
                true
            }
            "required" => {
                let missing = |name: &&Value| value.get(name.as_str().unwrap()).is_none();
                rule.as_array().unwrap().iter().find(missing).is_none()
            }
            "properties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    let Some(rule) = rule.get(name) else { continue };
                    fits(root, rule, inner, &format!("{at}/{name}"))?;
                }
                true
            }
            "additionalProperties" => {
                let known = |name: &String| schema["properties"].get(name).is_some();
                value.as_object().into_iter().flatten().all(|(name, _)| known(name))
            }
            other => panic!("the schema has {other}, which is not known here"),
        };
        if !good {
            return Err(format!("{at}: not {key} {rule}"));
        }
    }
    Ok(())
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("the schema has the type {other}"),
    }
}
