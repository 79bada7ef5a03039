//! Notices that are told together. A connection that comes up says a dozen things of itself in a tenth of a second; each would wake
//! whoever listens, while the machine has packets to answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::registry::{MANY, Notice};

/// So long what is not urgent waits for what may come with it: nobody sees that.
const MOMENT: Duration = Duration::from_millis(50);

/// The next notices, in order, of which only the last one may be urgent. What changed twice changes once. In between only what
/// is urgent wakes it.
///
/// # Errors
/// Notices were lost, those that were gathered among them, or there will be none.
pub(super) async fn gather(
    notices: &mut Receiver<Notice>,
    urgent: &mut watch::Receiver<()>,
) -> Result<Vec<Notice>, RecvError> {
    urgent.mark_unchanged();
    let mut gathered = vec![notices.recv().await?];
    let until = Instant::now() + MOMENT;
    let mut over = false;
    while gathered.len() < MANY && gathered.last().is_some_and(Notice::may_wait) {
        match notices.try_recv() {
            Ok(notice) => push(&mut gathered, notice),
            Err(TryRecvError::Lagged(n)) => return Err(RecvError::Lagged(n)),
            // The next call tells.
            Err(TryRecvError::Closed) => break,
            Err(TryRecvError::Empty) if over => break,
            Err(TryRecvError::Empty) => {
                over = !matches!(timeout_at(until, urgent.changed()).await, Ok(Ok(())))
            }
        }
    }
    Ok(gathered)
}

fn push(gathered: &mut Vec<Notice>, mut notice: Notice) {
    if let Notice::Changed(id, new) = &mut notice {
        let same = gathered.iter().position(|n| matches!(n, Notice::Changed(of, _) if of == id));
        if let Some(Notice::Changed(_, old)) = same.map(|at| gathered.remove(at)) {
            *new = Arc::new((old.0.clone(), new.1.clone()));
        }
    }
    gathered.push(notice);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Facts, Registry, Role, State};

    #[tokio::test]
    async fn what_comes_at_once_is_told_at_once() {
        let registry = Registry::new();
        let id = registry.add(Facts::new(Role::Client, "corp", "vpn"));
        let (mut notices, mut urgent) = (registry.subscribe(), registry.urgent());
        registry.update(id, |f| f.interface = "adit0".into());
        registry.progress(id, "child-sa", "one");
        registry.update(id, |f| f.rekeys = 1);
        registry.progress(id, "child-sa", "two");
        registry.set_state(id, State::Connected, "established", None);
        registry.progress(id, "established", "three");
        let told = gather(&mut notices, &mut urgent).await.unwrap();
        let [Notice::Progress(..), Notice::Progress(_, _, two), Notice::Changed(_, facts), Notice::State(..)] =
            told.as_slice()
        else {
            panic!("{told:?}")
        };
        assert_eq!(two, "two");
        assert_eq!((facts.0.interface.as_str(), facts.0.state), ("", State::Connecting));
        assert_eq!(
            (facts.1.interface.as_str(), facts.1.state, facts.1.rekeys),
            ("adit0", State::Connected, 1)
        );
        // A state does not wait for what comes behind it.
        let told = gather(&mut notices, &mut urgent).await.unwrap();
        assert!(matches!(told.as_slice(), [Notice::Progress(..)]));
        // What was lost makes the rest worthless, too.
        registry.progress(id, "established", "four");
        (0..2000).for_each(|_| registry.progress(id, "established", "many"));
        assert!(matches!(gather(&mut notices, &mut urgent).await, Err(RecvError::Lagged(_))));
        let of_many = gather(&mut notices, &mut urgent).await.unwrap();
        assert_eq!(of_many.len(), MANY);
    }

    #[tokio::test]
    async fn who_waits_until_all_have_heard_waits_for_the_last_one() {
        let registry = Registry::new();
        registry.heard().await;
        let (mut one, mut other) = (registry.subscribe(), registry.subscribe());
        let mut urgent = registry.urgent();
        let waiting = tokio::spawn(async move { registry.heard().await });
        let told = gather(&mut one, &mut urgent).await.unwrap();
        assert!(matches!(told.as_slice(), [Notice::Heard(_)]));
        drop(told);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(gather(&mut other, &mut urgent).await);
        waiting.await.unwrap();
    }
}
