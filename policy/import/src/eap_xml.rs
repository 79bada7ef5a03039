//! `EapHostConfig`: which EAP method a Windows connection does, and whom it believes (Microsoft's EapHostConfig,
//! MsPeapConnectionProperties, EapTlsConnectionProperties and MsChapV2ConnectionProperties schemas).

use crate::draft::{Draft, Value, clean};
use crate::tree::{Node, Table};
use crate::weakening::Weakening;

/// What `configuration` (an element that holds an `EapHostConfig`) says.
pub(crate) fn eap(draft: &mut Draft<'_>, configuration: &Table, from: &str) {
    let none = Table::default();
    let host = configuration.table("EapHostConfig").unwrap_or(configuration);
    let outer = host.table("EapMethod").and_then(|method| method.text("Type")).map(str::to_owned);
    let config = host.table("Config").unwrap_or(&none);
    let eap = config.table("Eap").unwrap_or(&none);
    let kind = outer.or_else(|| eap.text("Type").map(str::to_owned)).unwrap_or_default();
    let settings = eap.table("EapType").unwrap_or(&none);
    method(draft, &kind, from);
    if kind == "25" {
        inner(draft, settings, from);
    }
    if settings.flag("PerformServerValidation") == Some(false) {
        draft.weak(&format!("{from}.PerformServerValidation"), Weakening::UncheckedCertificate);
    }
    if let Some(validation) = settings.table("ServerValidation") {
        server(draft, validation, from);
    }
    // The rest tells what a person is asked, and how a certificate is found in Windows' store.
    let mut rest = Vec::new();
    configuration.rest("", &mut rest);
    if !rest.is_empty() {
        draft.left(
            &format!("{from}: {} more values", rest.len()),
            None,
            "how Windows asks, and finds its certificates",
        );
    }
    configuration.take_all();
}

/// A method by its number in IANA's registry.
pub(crate) fn method(draft: &mut Draft<'_>, number: &str, from: &str) {
    let word = match number {
        "26" => "mschapv2",
        "13" => "tls",
        "25" => "peap",
        "21" => "ttls",
        other => {
            let what = format!("{from}: EAP method {}", clean(other));
            draft.missing(what, "Adit has EAP-MSCHAPv2 (26), EAP-TLS (13), PEAP (25) and EAP-TTLS (21)");
            return;
        }
    };
    draft.set("eap-methods", Value::List(vec![word.into()]), from);
    if draft.kind.is_ppp() {
        draft.set("ppp-auth", Value::List(vec!["eap".into()]), from);
    }
    if word == "tls" {
        draft.needs_own = Some(from.to_owned());
    }
}

/// What is inside of PEAP.
fn inner(draft: &mut Draft<'_>, settings: &Table, from: &str) {
    let Some(inner) = settings.table("Eap") else { return };
    match inner.text("Type") {
        Some("26") | None => draft.text("eap-inner", "mschapv2", from),
        Some(other) => {
            let next = "Adit has EAP-MSCHAPv2 inside of PEAP; a certificate alone: eap-methods = [\"tls\"]";
            draft.missing(format!("{from}: EAP method {} inside of PEAP", clean(other)), next);
        }
    }
    inner.take_all();
}

fn server(draft: &mut Draft<'_>, validation: &Table, from: &str) {
    let names: Vec<&str> = validation.text("ServerNames").unwrap_or("").split(';').collect();
    match names.as_slice() {
        [] | [""] => {}
        [one] => draft.identity("eap-server", one.trim(), &format!("{from}.ServerNames")),
        several => {
            draft.left(&format!("{from}.ServerNames"), Some(&several.join(";")), "eap-server is one name")
        }
    }
    let thumbs = validation.entries().filter(|(name, _)| name.eq_ignore_ascii_case("TrustedRootCA"));
    if thumbs.filter_map(|(_, node)| Node::take(node)).count() > 0 {
        let why = "an authority is named by its certificate, not by a hash: put it beside the profile, and it becomes ca";
        draft.left(&format!("{from}.TrustedRootCA"), None, why);
    }
    validation.take_named("DisableUserPromptForServerValidation");
}
