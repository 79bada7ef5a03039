//! Notices that are told together. A connection that comes up says a dozen things of itself in a tenth of a second; each would wake
//! whoever listens, while the machine has packets to answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, timeout_at};

use crate::registry::Notice;

/// So long what is not urgent waits for what may come with it: nobody sees that.
const MOMENT: Duration = Duration::from_millis(50);
/// So many wait at most.
const MOST: usize = 64;

/// The next notices, in order, of which only the last one may be urgent. What changed twice changes once.
///
/// # Errors
/// Notices were lost, those that were gathered among them, or there will be none.
pub(super) async fn gather(notices: &mut Receiver<Notice>) -> Result<Vec<Notice>, RecvError> {
    let mut gathered = vec![notices.recv().await?];
    let until = Instant::now() + MOMENT;
    while gathered.len() < MOST && gathered.last().is_some_and(may_wait) {
        match timeout_at(until, notices.recv()).await {
            Ok(Ok(notice)) => push(&mut gathered, notice),
            Ok(Err(RecvError::Lagged(n))) => return Err(RecvError::Lagged(n)),
            // The next call tells.
            Ok(Err(RecvError::Closed)) | Err(_) => break,
        }
    }
    Ok(gathered)
}

const fn may_wait(notice: &Notice) -> bool {
    matches!(notice, Notice::Changed(..) | Notice::Progress(..))
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
        let mut notices = registry.subscribe();
        registry.update(id, |f| f.interface = "adit0".into());
        registry.progress(id, "child-sa", "one");
        registry.update(id, |f| f.rekeys = 1);
        registry.progress(id, "child-sa", "two");
        registry.set_state(id, State::Connected, "established", None);
        registry.progress(id, "established", "three");
        let told = gather(&mut notices).await.unwrap();
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
        let told = gather(&mut notices).await.unwrap();
        assert!(matches!(told.as_slice(), [Notice::Progress(..)]));
        // What was lost makes the rest worthless, too.
        registry.progress(id, "established", "four");
        (0..2000).for_each(|_| registry.progress(id, "established", "many"));
        assert!(matches!(gather(&mut notices).await, Err(RecvError::Lagged(_))));
        let of_many = gather(&mut notices).await.unwrap();
        assert_eq!(of_many.len(), MOST);
    }

    #[tokio::test]
    async fn who_waits_until_all_have_heard_waits_for_the_last_one() {
        let registry = Registry::new();
        registry.heard().await;
        let (mut one, mut other) = (registry.subscribe(), registry.subscribe());
        let waiting = tokio::spawn(async move { registry.heard().await });
        let told = gather(&mut one).await.unwrap();
        assert!(matches!(told.as_slice(), [Notice::Heard(_)]));
        drop(told);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(gather(&mut other).await);
        waiting.await.unwrap();
    }
}
