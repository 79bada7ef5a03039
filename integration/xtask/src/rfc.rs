//! `cargo xtask rfc`: what the RFCs demand, and the code and the test that cite each demand.
//!
//! `docs/rfc/NUMBER.toml` lists the demands; a comment with `[7296:2.1-1]` cites one, at the code that keeps it and at
//! the test that proves it. docs/rfc/README.md explains both to who writes them.

mod cite;
mod demand;
mod invert;
mod mutate;
mod page;

use std::collections::BTreeMap;

use cite::{Citation, Side};
use demand::{Demand, List, Standing};

const USAGE: &str = "cargo xtask rfc [--missing] [--md] [--list] [RFC…]
cargo xtask rfc --invert N [--seed S] [RFC…]

  (nothing)   a summary of each RFC, and what is wrong with the citations: what ci runs
  --list      every demand with what cites it
  --missing   the demands that apply and lack a citation, in code or in a test
  --md        write the tables of docs/rfc/README.md anew
  --invert N  break the code at N sampled citations, one at a time, in a copy: the cited tests have to fail
  --seed S    which sample (1)";

/// What was asked for.
#[derive(Default)]
struct Wanted {
    list: bool,
    missing: bool,
    page: bool,
    invert: Option<usize>,
    seed: u64,
    rfcs: Vec<u16>,
}

/// Lists, checks, or inverts.
///
/// # Errors
/// Wrong arguments, wrong citations, or too many inversions that no test saw.
pub(crate) fn rfc(arguments: &[String]) -> Result<(), String> {
    let wanted = Wanted::parse(arguments)?;
    let lists: Vec<List> = demand::read_all()?
        .into_iter()
        .filter(|l| wanted.rfcs.is_empty() || wanted.rfcs.contains(&l.rfc))
        .collect();
    let citations = cite::scan()?;
    if let Some(count) = wanted.invert {
        return invert::invert(&lists, &citations, count, wanted.seed);
    }
    let cited = Cited::new(&citations);
    for list in &lists {
        if wanted.list || wanted.missing {
            print(list, &cited, wanted.missing);
        }
    }
    for list in &lists {
        println!("{}", Summary::of(list, &cited));
    }
    if wanted.page {
        page::write(&lists, &cited)?;
    }
    wrong(&lists, &citations, &cited, wanted.rfcs.is_empty())
}

/// What CI checks: every citation is of a demand that exists, and what is said to be kept is cited on both sides.
///
/// # Errors
/// How many are not.
pub(crate) fn check() -> Result<(), String> {
    rfc(&[])
}

impl Wanted {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut out = Self { seed: 1, ..Self::default() };
        let mut rest = arguments.iter();
        let number = |option: &str, value: Option<&String>| -> Result<u64, String> {
            value.and_then(|v| v.parse().ok()).ok_or(format!("{option} takes a number\n\n{USAGE}"))
        };
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--list" => out.list = true,
                "--missing" => out.missing = true,
                "--md" => out.page = true,
                "--invert" => {
                    out.invert = Some(usize::try_from(number(argument, rest.next())?).unwrap_or(usize::MAX));
                }
                "--seed" => out.seed = number(argument, rest.next())?,
                other => match other.parse() {
                    Ok(rfc) => out.rfcs.push(rfc),
                    Err(_) => return Err(USAGE.into()),
                },
            }
        }
        Ok(out)
    }
}

/// Citations by what they cite.
struct Cited<'a> {
    by_id: BTreeMap<&'a str, Vec<&'a Citation>>,
}

impl<'a> Cited<'a> {
    fn new(citations: &'a [Citation]) -> Self {
        let mut by_id: BTreeMap<&str, Vec<&Citation>> = BTreeMap::new();
        for citation in citations {
            by_id.entry(&citation.id).or_default().push(citation);
        }
        Self { by_id }
    }

    /// The citations of a demand on one side.
    fn of(&self, id: &str, side: Side) -> impl Iterator<Item = &'a Citation> {
        self.by_id.get(id).into_iter().flatten().copied().filter(move |c| c.side == side)
    }

    fn both(&self, id: &str) -> bool {
        self.of(id, Side::Code).next().is_some() && self.of(id, Side::Test).next().is_some()
    }
}

/// The figures of one RFC.
struct Summary {
    rfc: u16,
    demands: usize,
    applies: usize,
    code: usize,
    test: usize,
    both: usize,
}

impl Summary {
    fn of(list: &List, cited: &Cited<'_>) -> Self {
        let applying: Vec<&Demand> = list.demands.iter().filter(|d| d.applies()).collect();
        let count = |keep: &dyn Fn(&Demand) -> bool| applying.iter().filter(|d| keep(d)).count();
        Self {
            rfc: list.rfc,
            demands: list.demands.len(),
            applies: applying.len(),
            code: count(&|d| cited.of(&d.id, Side::Code).next().is_some()),
            test: count(&|d| cited.of(&d.id, Side::Test).next().is_some()),
            both: count(&|d| cited.both(&d.id)),
        }
    }

    /// Of those that apply, cited by code and test, in tenths of a percent.
    fn permille(&self) -> usize {
        self.both.saturating_mul(1000).checked_div(self.applies).unwrap_or(1000)
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let permille = self.permille();
        write!(
            f,
            "RFC {}: {} demands, {} apply; cited by code {}, by tests {}, by both {} ({}.{} %)",
            self.rfc,
            self.demands,
            self.applies,
            self.code,
            self.test,
            self.both,
            permille / 10,
            permille % 10
        )
    }
}

fn print(list: &List, cited: &Cited<'_>, missing: bool) {
    for demand in &list.demands {
        if missing && (!demand.applies() || cited.both(&demand.id)) {
            continue;
        }
        println!("{}  {}", demand.id, demand.says);
        match &demand.standing {
            Standing::Not(why) => println!("    does not apply: {why}"),
            Standing::Open(why) => println!("    open: {why}"),
            Standing::Kept => {}
        }
        for (side, name) in [(Side::Code, "code"), (Side::Test, "test")] {
            let places: Vec<String> = cited.of(&demand.id, side).map(ToString::to_string).collect();
            if !places.is_empty() {
                println!("    {name}  {}", places.join("\n          "));
            } else if demand.applies() {
                println!("    {name}  -");
            }
        }
    }
}

fn wrong(lists: &[List], citations: &[Citation], cited: &Cited<'_>, all: bool) -> Result<(), String> {
    let mut wrong = Vec::new();
    let known = |id: &str| lists.iter().any(|l| l.demands.iter().any(|d| d.id == id));
    for citation in citations.iter().filter(|c| all && !known(&c.id)) {
        wrong.push(format!("{citation}: there is no {}", citation.id));
    }
    for (list, demand) in lists.iter().flat_map(|l| l.demands.iter().map(move |d| (l, d))) {
        match &demand.standing {
            Standing::Kept if list.strict && !cited.both(&demand.id) => {
                wrong.push(format!("{} is said to be kept and lacks a citation: {}", demand.id, demand.says));
            }
            Standing::Open(_) if cited.both(&demand.id) => {
                wrong.push(format!("{} is said to be open, and code and test cite it", demand.id));
            }
            Standing::Kept | Standing::Open(_) | Standing::Not(_) => {}
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.iter().for_each(|line| println!("{line}"));
    Err(format!("{} citations are wrong or missing", wrong.len()))
}
