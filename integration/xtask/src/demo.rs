//! `cargo xtask demo`: the first tunnel, told step by step. Its script is the scenario `demo`.

use crate::lab;

/// Runs the demo.
///
/// # Errors
/// What went wrong.
pub(crate) fn demo(arguments: &[String]) -> Result<(), String> {
    match arguments {
        [] => lab::narrated("demo"),
        more => Err(format!("demo takes no arguments, but there is {}", more.join(" "))),
    }
}
