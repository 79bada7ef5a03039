//! The auth dialog of NetworkManager's external-UI mode, without the dialog: which secrets a connection needs, and how a
//! person is asked for them. Whoever started the program asks.

use std::collections::BTreeMap;
use std::fmt::Write;

use zeroize::Zeroizing;

use crate::bridge::follow::CODE;
use crate::draft::Draft;
use crate::settings::Settings;

/// What is said of a secret that is not the connection's own: the daemon asks for it in the course of things.
const MESSAGE: &str = "x-vpn-message:";

/// The command line.
#[derive(Debug, Default)]
pub struct Request {
    name: String,
    service: String,
    /// The secrets that there are were wrong.
    again: bool,
    /// Secrets that are asked for, and why.
    hints: Vec<String>,
    external: bool,
}

impl Request {
    /// What it says. `None`: it is none.
    #[must_use]
    pub fn of(arguments: &[String]) -> Option<Self> {
        let mut request = Self::default();
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            match argument {
                "-u" | "--uuid" => drop(arguments.next()?),
                "-n" | "--name" => arguments.next()?.clone_into(&mut request.name),
                "-s" | "--service" => arguments.next()?.clone_into(&mut request.service),
                "-t" | "--hint" => request.hints.push(arguments.next()?.to_owned()),
                "-i" | "--allow-interaction" => {}
                "-r" | "--reprompt" => request.again = true,
                "--external-ui-mode" => request.external = true,
                _ => return None,
            }
        }
        (!request.service.is_empty()).then_some(request)
    }

    /// Why a person is asked.
    fn message(&self) -> Option<&str> {
        self.hints.iter().find_map(|hint| hint.strip_prefix(MESSAGE))
    }

    /// What the service asks for.
    fn hinted(&self) -> impl Iterator<Item = &str> {
        self.hints.iter().map(String::as_str).filter(|hint| !hint.starts_with("x-"))
    }
}

/// The answer to a request, for this connection (`DATA_KEY=…`, `DATA_VAL=…`, `SECRET_KEY=…`, `SECRET_VAL=…`).
///
/// # Errors
/// The connection has a mistake; or somebody wants a dialog of this program's own, which has none.
pub fn answer(request: &Request, said: &str) -> Result<Zeroizing<String>, String> {
    let settings = settings(request, said);
    let draft = Draft::asking(&settings).map_err(|failure| match failure.hint {
        Some(hint) => format!("{}; {hint}", failure.text),
        None => failure.text,
    })?;
    let questions = questions(request, &draft, &settings);
    match request.external {
        true => Ok(key_file(request, &questions)),
        false => known(&questions),
    }
}

/// A secret, and whether a person is asked for it.
struct Question<'a> {
    secret: &'a str,
    label: String,
    value: Option<&'a Zeroizing<String>>,
    ask: bool,
}

/// What the service asks for comes first; what is there stays there.
fn questions<'a>(request: &'a Request, draft: &'a Draft, settings: &'a Settings) -> Vec<Question<'a>> {
    let question = |secret: &'a str, ask: bool| {
        let value = settings.secrets.get(secret).filter(|_| !ask);
        Question { secret, label: label(secret, settings), value, ask }
    };
    let hinted: Vec<&str> = request.hinted().collect();
    let mut out: Vec<Question<'_>> = hinted.iter().map(|secret| question(secret, true)).collect();
    for secret in draft.takes.iter().copied().filter(|secret| !hinted.contains(secret)) {
        let again = request.again && hinted.is_empty();
        let ask = again || draft.missing.contains(&secret);
        if ask || settings.secrets.contains_key(secret) {
            out.push(question(secret, ask));
        }
    }
    out
}

fn label(secret: &str, settings: &Settings) -> String {
    let user = settings.data.get("user").map(|user| format!(" for {user}")).unwrap_or_default();
    // The second code is `code-2`.
    let secret = match secret.split_once('-') {
        Some((CODE, _)) => CODE,
        _ => secret,
    };
    match secret {
        "password" => format!("Password{user}"),
        "new-password" => format!("New password{user}"),
        CODE => format!("Code{user}"),
        "pin" => "PIN of the token".to_owned(),
        "psk" | "ipsec-psk" => "Pre-shared key".to_owned(),
        "proxy-user" => "User name at the proxy".to_owned(),
        "proxy-password" => "Password at the proxy".to_owned(),
        other => other.to_owned(),
    }
}

fn key_file(request: &Request, questions: &[Question<'_>]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(16 * 1024));
    let title = format!("VPN {}", request.name);
    let description = match request.message() {
        Some(message) => message.to_owned(),
        None => format!("The connection \"{}\" needs to know who you are.", request.name),
    };
    // Writing to a String does not fail.
    let _ = write!(out, "[VPN Plugin UI]\nVersion=2\nTitle=");
    value(&mut out, &title);
    out.push_str("\nDescription=");
    value(&mut out, &description);
    out.push('\n');
    for question in questions {
        let _ = write!(out, "\n[{}]\nValue=", group(question.secret));
        value(&mut out, question.value.map_or("", |value| value.as_str()));
        out.push_str("\nLabel=");
        value(&mut out, &question.label);
        let _ = write!(out, "\nIsSecret=true\nShouldAsk={}\n", question.ask);
    }
    out
}

/// Without an agent that asks, only what is there can be said: a name and a value a line, and an empty line at the end.
fn known(questions: &[Question<'_>]) -> Result<Zeroizing<String>, String> {
    let mut out = Zeroizing::new(String::with_capacity(16 * 1024));
    for question in questions {
        match question.value {
            Some(value) if !value.contains('\n') => {
                let _ = write!(out, "{}\n{}\n", question.secret, value.as_str());
            }
            _ => {
                return Err(
                    "this program shows no dialog: use an agent that asks (--external-ui-mode)".into()
                );
            }
        }
    }
    out.push_str("\n\n");
    Ok(out)
}

/// A name that can't be one of a group does not come: the daemon's fields and our own secrets are plain words.
fn group(secret: &str) -> String {
    secret.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// As GKeyFile reads it.
fn value(out: &mut String, text: &str) {
    for (at, c) in text.chars().enumerate() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' ' if at == 0 => out.push_str("\\s"),
            c => out.push(c),
        }
    }
}

/// The connection as the agent says it. A line that begins with `=` goes on with the one before.
fn settings(request: &Request, said: &str) -> Settings {
    let mut pairs: Vec<(bool, String, Zeroizing<String>)> = Vec::new();
    for line in said.lines() {
        if let Some(key) = line.strip_prefix("DATA_KEY=") {
            pairs.push((false, key.to_owned(), Zeroizing::default()));
        } else if let Some(key) = line.strip_prefix("SECRET_KEY=") {
            pairs.push((true, key.to_owned(), Zeroizing::default()));
        } else if let Some((_, _, last)) = pairs.last_mut() {
            if let Some(first) = line.strip_prefix("DATA_VAL=").or_else(|| line.strip_prefix("SECRET_VAL=")) {
                last.push_str(first);
            } else if let Some(more) = line.strip_prefix('=') {
                last.push('\n');
                last.push_str(more);
            }
        }
    }
    let mut data = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    for (secret, key, value) in pairs {
        match secret {
            true => drop(secrets.insert(key, value)),
            false => drop(data.insert(key, value.to_string())),
        }
    }
    Settings {
        id: request.name.clone(),
        uuid: "0".repeat(32),
        service: request.service.clone(),
        data,
        secrets,
        ..Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORP: &str = "DATA_KEY=server\nDATA_VAL=vpn\nDATA_KEY=auth\nDATA_VAL=eap\nDATA_KEY=user\n\
                        DATA_VAL=CORP\\alice\nDATA_KEY=password-flags\nDATA_VAL=2\n";

    fn ask(more: &[&str], said: &str) -> Result<String, String> {
        let own = ["-u", "1", "-n", "corp", "-s", "org.freedesktop.NetworkManager.adit", "-i"];
        let all: Vec<String> = own.iter().chain(more).map(|a| (*a).to_owned()).collect();
        answer(&Request::of(&all).unwrap(), said).map(|text| text.to_string())
    }

    #[test]
    fn what_is_missing_is_asked_for() {
        let text = ask(&["--external-ui-mode"], CORP).unwrap();
        assert!(text.starts_with("[VPN Plugin UI]\nVersion=2\nTitle=VPN corp\nDescription="), "{text}");
        let question =
            "\n[password]\nValue=\nLabel=Password for CORP\\\\alice\nIsSecret=true\nShouldAsk=true\n";
        assert!(text.ends_with(question), "{text}");
    }

    #[test]
    fn what_is_there_stays_and_what_was_wrong_is_asked_for_anew() {
        let said = format!("{CORP}SECRET_KEY=password\nSECRET_VAL= a\\b\n");
        let text = ask(&["--external-ui-mode"], &said).unwrap();
        assert!(text.contains("Value=\\sa\\\\b\n") && text.contains("ShouldAsk=false"), "{text}");
        let text = ask(&["--external-ui-mode", "-r"], &said).unwrap();
        assert!(text.contains("Value=\n") && text.contains("ShouldAsk=true"), "{text}");
        assert_eq!(ask(&[], &said).unwrap(), "password\n a\\b\n\n\n");
        assert!(ask(&[], CORP).is_err(), "nobody would ask");
    }

    #[test]
    fn what_the_service_asks_for_comes_with_its_reason() {
        let said = format!("{CORP}SECRET_KEY=password\nSECRET_VAL=x\n");
        let text = ask(&["--external-ui-mode", "-t", "code", "-t", "x-vpn-message:From your\ntoken"], &said);
        let text = text.unwrap();
        assert!(text.contains("Description=From your\\ntoken\n"), "{text}");
        assert!(text.contains("[code]\nValue=\nLabel=Code for CORP\\\\alice\nIsSecret=true\nShouldAsk=true"));
        assert!(text.contains("[password]\nValue=x\n") && text.contains("ShouldAsk=false"), "{text}");
        let again = ask(&["--external-ui-mode", "-t", "code-2"], &said).unwrap();
        assert!(again.contains("[code-2]\nValue=\nLabel=Code for CORP"), "{again}");
    }

    #[test]
    fn a_request_is_understood_or_refused() {
        let request = |all: &[&str]| Request::of(&all.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        assert!(
            request(&["-n", "corp"]).is_none() && request(&["-s"]).is_none() && request(&["-x"]).is_none()
        );
        assert!(request(&["-s", "org.example", "-r"]).unwrap().again);
        assert!(ask(&["--external-ui-mode"], "DATA_KEY=password\nDATA_VAL=hunter2\n").is_err());
    }
}
