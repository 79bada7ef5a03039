//! Work that blocks (files, modules of tokens, the kernel where it takes its time), on the threads for it.

use adit_core::{Failure, FailureCode, Step};

/// What `work` gives; `what` it does is for people, as in "reading the key broke off".
///
/// # Errors
/// It broke off.
pub(crate) async fn blocking<T: Send + 'static>(
    step: Step,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let broke_off = |_| Failure::new(FailureCode::Internal, step, format!("{what} broke off"));
    tokio::task::spawn_blocking(work).await.map_err(broke_off)
}
