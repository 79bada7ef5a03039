//! The lists of demands: `docs/rfc/*.toml`.

use std::fs;

use crate::shell::root;

/// One RFC.
pub(super) struct List {
    pub(super) rfc: u16,
    pub(super) title: String,
    /// Whether what is not said to be open has to be cited.
    pub(super) strict: bool,
    /// In the RFC's order.
    pub(super) demands: Vec<Demand>,
}

/// One demand.
pub(super) struct Demand {
    /// As it is cited: `7296:2.1-1`.
    pub(super) id: String,
    pub(super) says: String,
    pub(super) standing: Standing,
}

/// How it stands with a demand.
pub(super) enum Standing {
    /// It is kept, and cited by code and test.
    Kept,
    /// It is not kept, or not proved: why.
    Open(String),
    /// It does not apply to Adit: why.
    Not(String),
}

impl Demand {
    /// Whether Adit has to keep it.
    pub(super) const fn applies(&self) -> bool {
        !matches!(self.standing, Standing::Not(_))
    }
}

/// All lists, by number.
///
/// # Errors
/// What is wrong with which file.
pub(super) fn read_all() -> Result<Vec<List>, String> {
    let folder = root().join("docs/rfc");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut lists = Vec::new();
    for path in entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")) {
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        lists.push(parse(&text).map_err(|why| format!("{}: {why}", path.display()))?);
    }
    lists.sort_by_key(|l: &List| l.rfc);
    Ok(lists)
}

fn parse(text: &str) -> Result<List, String> {
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
    let rfc = table.get("rfc").and_then(toml::Value::as_integer).and_then(|n| u16::try_from(n).ok());
    let rfc = rfc.ok_or("it has no number `rfc`")?;
    let title = table.get("title").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    let strict = table.get("strict").and_then(toml::Value::as_bool).unwrap_or_default();
    let reasons = table.get("reasons").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    let lines =
        table.get("requirements").and_then(toml::Value::as_table).ok_or("it has no [requirements]")?;
    let mut demands = Vec::new();
    for (id, value) in lines {
        let demand = demand(rfc, id, value, &reasons).map_err(|why| format!("{id}: {why}"))?;
        demands.push(demand);
    }
    demands.sort_by_cached_key(|d| natural(&d.id));
    Ok(List { rfc, title, strict, demands })
}

fn demand(rfc: u16, id: &str, value: &toml::Value, reasons: &toml::Table) -> Result<Demand, String> {
    let id = format!("{rfc}:{id}");
    if let Some(says) = value.as_str() {
        return Ok(Demand { id, says: says.to_owned(), standing: Standing::Kept });
    }
    let text = |name: &str| value.get(name).and_then(toml::Value::as_str);
    let says = text("says").ok_or("it says nothing")?.to_owned();
    let standing = match (text("not"), text("open")) {
        (Some(reason), None) => {
            let why = reasons.get(reason).and_then(toml::Value::as_str);
            Standing::Not(why.ok_or(format!("there is no reason {reason:?}"))?.to_owned())
        }
        (None, Some(why)) => Standing::Open(why.to_owned()),
        _ => return Err("it takes `not` or `open`".into()),
    };
    Ok(Demand { id, says, standing })
}

/// 2.10 comes after 2.9.
fn natural(id: &str) -> Vec<u32> {
    id.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        rfc = 7296
        title = "T"
        [reasons]
        never = "never done"
        [requirements]
        "2.10-1" = "kept"
        "2.9-2" = { says = "not done", not = "never" }
        "2.9-1" = { says = "later", open = "no test" }
    "#;

    #[test]
    fn a_list_is_read_in_the_rfcs_order() {
        let list = parse(TEXT).unwrap();
        let ids: Vec<&str> = list.demands.iter().map(|d| d.id.as_str()).collect();
        assert_eq!(ids, ["7296:2.9-1", "7296:2.9-2", "7296:2.10-1"]);
        assert_eq!(list.demands.iter().map(Demand::applies).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn a_reason_has_to_exist() {
        let wrong = TEXT.replace("never =", "ever =");
        assert_eq!(parse(&wrong).err().as_deref(), Some("2.9-2: there is no reason \"never\""));
        let wrong = TEXT.replace("open =", "opened =");
        assert_eq!(parse(&wrong).err().as_deref(), Some("2.9-1: it takes `not` or `open`"));
    }
}
