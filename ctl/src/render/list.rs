use std::borrow::Cow;

use adit_dbus_api::ProfileSummary;

use super::{Palette, clean, columns, wrap};

/// A line each, and below it what is wrong with those that have a mistake. `state_of` is a profile's connection's.
pub(crate) fn profiles(
    profiles: &[ProfileSummary],
    state_of: impl Fn(&ProfileSummary) -> String,
    palette: Palette,
    width: usize,
) -> String {
    let header = ["NAME", "STATE", "AUTH", "TUNNEL", "SERVER"];
    let rows: Vec<[Cow<'_, str>; 5]> = profiles
        .iter()
        .map(|p| {
            let state = if p.problems.is_empty() { state_of(p) } else { "invalid".to_owned() };
            [&p.name, &state, &p.auth, &p.tunnel, &p.server].map(|c| clean(c).replace(' ', "_").into())
        })
        .collect();
    let mut out = columns(header, &rows, 1, palette);
    for p in profiles.iter().filter(|p| !p.problems.is_empty()) {
        out.push('\n');
        out.push_str(&problems(p, palette, width));
    }
    out
}

/// A profile's settings; what it does not say itself is marked.
pub(crate) fn profile(p: &ProfileSummary, state: &str, palette: Palette, width: usize) -> String {
    let shown = if p.problems.is_empty() { state } else { "invalid" };
    let mut out = format!("{}: {}\n", palette.bold(clean(&p.name)), palette.state(shown, shown));
    let longest = p.settings.iter().map(|s| s.key.chars().count()).max().unwrap_or(0);
    for s in &p.settings {
        let line = format!("  {:<longest$} = {}", s.key, clean(&s.value).replace('\n', "\\n"));
        let line = if s.default { palette.dim(format!("{line}  (default)")) } else { line };
        out.push_str(&line);
        out.push('\n');
    }
    out.push_str(&problems(p, palette, width));
    out
}

fn problems(p: &ProfileSummary, palette: Palette, width: usize) -> String {
    let mut out = String::new();
    for problem in &p.problems {
        let place = format!("{}: ", clean(&problem.place));
        let text = wrap(&clean(&problem.text), place.chars().count(), 2, width);
        out.push_str(&format!("{}{text}\n", palette.red(place)));
        if !problem.hint.is_empty() {
            out.push_str(&format!(
                "  {}{}\n",
                palette.dim("help: "),
                wrap(&clean(&problem.hint), 8, 8, width)
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use adit_dbus_api::{Problem, SettingLine};

    use super::*;

    fn corp() -> ProfileSummary {
        let setting =
            |key: &str, value: &str, default| SettingLine { key: key.into(), value: value.into(), default };
        ProfileSummary {
            path: "/org/adit1/profile/1".into(),
            name: "corp".into(),
            server: "vpn.example.com".into(),
            auth: "psk".into(),
            tunnel: "full".into(),
            problems: vec![],
            settings: vec![
                setting("server", "\"vpn.example.com\"", false),
                setting("psk", "(hidden)", false),
                setting("dpd", "\"30s\"", true),
            ],
            connection: None,
        }
    }

    fn broken() -> ProfileSummary {
        ProfileSummary {
            name: "home".into(),
            server: String::new(),
            auth: String::new(),
            tunnel: String::new(),
            problems: vec![Problem {
                code: "configuration-invalid".into(),
                place: "/etc/adit/profiles/home.toml:2:8".into(),
                text: "`auth`: \"spk\" is not a value it can have".into(),
                hint: "allowed: \"psk\", \"certificate\"; did you mean \"psk\"?".into(),
            }],
            settings: vec![],
            ..corp()
        }
    }

    #[test]
    fn profiles_are_listed_with_their_mistakes() {
        let text = profiles(&[corp(), broken()], |_| "connected".into(), Palette { colour: false }, 80);
        assert_eq!(
            text,
            "\
NAME  STATE      AUTH  TUNNEL  SERVER
corp  connected  psk   full    vpn.example.com
home  invalid    -     -       -

/etc/adit/profiles/home.toml:2:8: `auth`: \"spk\" is not a value it can have
  help: allowed: \"psk\", \"certificate\"; did you mean \"psk\"?
"
        );
    }

    #[test]
    fn a_profile_is_shown_with_what_it_leaves_out() {
        assert_eq!(
            profile(&corp(), "down", Palette { colour: false }, 80),
            "\
corp: down
  server = \"vpn.example.com\"
  psk    = (hidden)
  dpd    = \"30s\"  (default)
"
        );
    }
}
