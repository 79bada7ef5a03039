//! `cargo xtask lab`: decides where the scenarios run, gets that ready, and runs them there.

mod debian;
mod kernel;
mod machine;
mod network_manager;
mod peers;
mod record;
mod setup;
mod stage;
mod uml;
mod vm;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use adit_lab::{
    needs,
    scenario::{Needs, Scenario},
};

use crate::shell::{is_root, root, target};

/// What was asked for.
#[derive(Default)]
pub(crate) struct Options {
    list: bool,
    all: bool,
    /// As it was given: `--sabotage`, or `--sabotage=NAME,…`.
    sabotage: Option<String>,
    keep: bool,
    release: bool,
    vm: bool,
    debian12: bool,
    older_network_manager: bool,
    older_machine: bool,
    uml: bool,
    narrate: bool,
    record: bool,
    names: Vec<String>,
}

/// Runs scenarios as the arguments say.
///
/// # Errors
/// That the lab could not be set up, or that scenarios failed.
pub(crate) fn lab(arguments: &[String]) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    let folder = root().join("integration/scenarios");
    if options.list {
        let known = Scenario::all(&folder)?;
        for scenario in &known {
            println!("{:<4} {:<36} {}", scenario.set, scenario.name, scenario.shows);
        }
        return Ok(());
    }
    let mut chosen = options.choose(&folder)?;
    options.knows_sabotages(&chosen)?;
    if options.older_network_manager {
        network_manager::older(&mut chosen)?;
    }
    if options.older_machine {
        machine::older(&mut chosen)?;
    }
    let stage = stage::Stage::make(&chosen, options.release)?;
    let passed = match lacking(&chosen) {
        _ if options.uml => {
            let cache = lab_folder().join("cache");
            println!("lab: under user-mode-linux: asked for");
            uml::run(&setup::image(&cache)?, &cache, &stage, &options.runner())
        }
        why if why.is_empty() && !options.vm && !options.debian12 => {
            println!("lab: in plain namespaces: this kernel and system have all that the scenarios need");
            in_namespaces(&stage, &options.runner())
        }
        why => {
            let why =
                if why.is_empty() { "asked for".to_owned() } else { format!("this machine lacks {why}") };
            let image = setup::image(&lab_folder().join("cache"))?;
            let (image, kernel) = match options.debian12 {
                true => (kernel::debian_12(image, &lab_folder().join("cache"))?, "Debian 12's kernel"),
                false => (image, "Debian 13's kernel"),
            };
            let cache = lab_folder().join("cache");
            let named: Vec<String> = chosen.iter().flat_map(|scenario| needs::of(scenario).roots).collect();
            let roots = peers::on_demand(named.iter().map(String::as_str), &image, &cache)?;
            let accelerator = vm::Accelerator::probe(&image, &cache);
            println!("lab: in one VM with {kernel}, {accelerator}: {why}");
            vm::run((&image, &roots), accelerator, &stage, &options.runner())
        }
    };
    if options.record {
        record::write(&stage.folder)?;
    }
    stage.results()?;
    passed
}

/// Runs one scenario told step by step.
///
/// # Errors
/// As [`lab`].
pub(crate) fn narrated(name: &str) -> Result<(), String> {
    lab(&["--narrate".to_owned(), name.to_owned()])
}

/// `target/lab`.
pub(crate) fn lab_folder() -> PathBuf {
    target().join("lab")
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--list" => options.list = true,
                "--all" => options.all = true,
                "--sabotage" => options.sabotage = Some(argument.clone()),
                names if names.starts_with("--sabotage=") => options.sabotage = Some(argument.clone()),
                "--keep" => options.keep = true,
                "--release" => options.release = true,
                "--vm" => options.vm = true,
                "--debian12-kernel" => options.debian12 = true,
                "--debian12-networkmanager" => options.older_network_manager = true,
                "--debian12-machine" => options.older_machine = true,
                "--uml" => options.uml = true,
                "--narrate" => options.narrate = true,
                "--record" => options.record = true,
                name if !name.starts_with('-') => options.names.push(name.to_owned()),
                other => {
                    let usage = "[--list] [--all] [--sabotage[=NAME,…]] [--keep] [--release] [--vm] [--debian12-kernel] \
                        [--debian12-networkmanager] [--debian12-machine] [--uml] [--narrate] [--record] [NAME…]";
                    return Err(format!("lab: no option {other:?}: {usage}"));
                }
            }
        }
        Ok(options)
    }

    /// The scenarios named, or the set.
    fn choose(&self, folder: &Path) -> Result<Vec<Scenario>, String> {
        if self.names.is_empty() {
            let is_chosen =
                |scenario: &Scenario| scenario.set == "ci" || (self.all && scenario.set == "full");
            return Ok(Scenario::all(folder)?.into_iter().filter(is_chosen).collect());
        }
        let one = |name: &String| {
            let own = folder.join(name);
            let unknown = || format!("lab: no scenario {name:?}: `cargo xtask lab --list` shows them");
            if own.is_dir() { Scenario::read(&own) } else { Err(unknown()) }
        };
        self.names.iter().map(one).collect()
    }

    /// That each sabotage that is named is one of a chosen scenario's: else nothing would run, and all would have passed.
    fn knows_sabotages(&self, chosen: &[Scenario]) -> Result<(), String> {
        let names = self.sabotage.as_deref().and_then(|given| given.strip_prefix("--sabotage="));
        let is_known = |name: &&str| {
            chosen.iter().flat_map(|scenario| &scenario.sabotage).any(|sabotage| sabotage.name == *name)
        };
        match names.and_then(|names| names.split(',').find(|name| !is_known(name))) {
            Some(unknown) => {
                Err(format!("lab: no sabotage {unknown:?} in what is to run: their scenario.toml names them"))
            }
            None => Ok(()),
        }
    }

    /// The runner's own options.
    fn runner(&self) -> Vec<&str> {
        let in_ci = std::env::var_os("CI").is_some();
        let others = [(self.keep, "--keep"), (self.narrate, "--narrate"), (in_ci, "--no-skips")];
        let others = others.into_iter().filter_map(|(is, option)| is.then_some(option));
        self.sabotage.as_deref().into_iter().chain(others).collect()
    }
}

/// What this machine lacks for the scenarios, in words.
fn lacking(scenarios: &[Scenario]) -> String {
    if !is_root() {
        return "root".to_owned();
    }
    if scenarios.iter().any(|scenario| scenario.needs.sleep) {
        return "leave to be suspended".to_owned();
    }
    let mut all = Needs::default();
    for scenario in scenarios {
        let needs = needs::of(scenario);
        all.modules.extend(needs.modules);
        all.programs.extend(needs.programs);
        all.roots.extend(needs.roots);
    }
    for names in [&mut all.modules, &mut all.programs, &mut all.roots] {
        names.sort();
        names.dedup();
    }
    needs::told(&needs::lacking(&all))
}

fn in_namespaces(stage: &stage::Stage, options: &[&str]) -> Result<(), String> {
    let mut command = Command::new(stage.folder.join("bin/adit-lab"));
    command.arg("run").args(stage.arguments(&stage.folder, options).unwrap_or_default());
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", stage.folder.join("bin").display()));
    let status = command.status().map_err(|e| format!("adit-lab: {e}"))?;
    if status.success() { Ok(()) } else { Err("lab: not all passed".to_owned()) }
}

/// Installs what the check of our packages calls.
///
/// # Errors
/// What is missing, or apt's own words.
pub(crate) fn package_check_packages() -> Result<(), String> {
    debian::package_check_packages(&lab_folder().join("cache"))
}

/// Fetches packages of a release of Debian's into `folder`.
///
/// # Errors
/// apt's own words.
pub(crate) fn download(
    packages: &str,
    release: &str,
    cache: &Path,
    folder: &Path,
    log: &Path,
) -> Result<(), String> {
    std::fs::create_dir_all(cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    debian::download(packages, release, cache, folder, log)
}

/// Installs what the unit tests call.
///
/// # Errors
/// What is missing, or apt's own words.
pub(crate) fn test_packages() -> Result<(), String> {
    debian::test_packages(&lab_folder().join("cache"))
}
