//! One session's link, by one task.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_ppp::{LinkConfig, Restored};
use tokio::sync::{mpsc, oneshot};

use super::engine::{Link, Order, Orders, Running};
use super::{Leaves, Protection};
use crate::ppp::{self, Driver, Happened, Later, Line, Unit, World};

/// So long a link's farewell may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// What the link is to be.
struct Start {
    mtu: u16,
    link: LinkConfig,
    world: Arc<dyn World>,
}

/// A session, or what is to become one.
pub(crate) struct Session {
    start: Start,
    /// The tunnel is its own: it has been dialled for it.
    tunnel: Option<(Running, mpsc::Receiver<Link>)>,
    driver: Option<Driver>,
    up: Option<Up>,
    /// What is around its own tunnel.
    protection: Option<Protection>,
    /// That is over.
    bare: bool,
    /// Its own tunnel, which still takes leave.
    leaving: Option<Running>,
    /// What the next process goes on from.
    leaves: Option<Arc<Leaves>>,
}

struct Up {
    number: adit_l2tp::SessionNumber,
    over: oneshot::Receiver<Result<(), Failure>>,
    orders: Orders,
}

impl Session {
    pub(super) fn dialling(
        (tunnel, protection): (Running, Option<Protection>),
        links: mpsc::Receiver<Link>,
        (mtu, link, world): (u16, LinkConfig, Arc<dyn World>),
        leaves: Option<Arc<Leaves>>,
    ) -> Self {
        let new = Self::new(Start { mtu, link, world });
        Self { tunnel: Some((tunnel, links)), protection, leaves, ..new }
    }

    /// Goes on with a link that a process before has left, once the tunnel says that it is there.
    ///
    /// # Errors
    /// Nobody can: everything here is closed then.
    pub(super) async fn goes_on(
        mut self,
        left: &[u8],
        unit: adit_ppp_kernel::Unit,
    ) -> Result<(Self, Restored), Failure> {
        let came = match &mut self.tunnel {
            Some((running, links)) => tokio::select! {
                Some(came) = links.recv() => Ok(came),
                why = &mut running.over => Err(why.unwrap_or(Ok(()))),
            },
            None => Err(Ok(())),
        };
        match came {
            Ok(came) => self.comes_up_again(came, left, unit).await,
            Err(why) => {
                self.take_leave().await;
                Err(why.err().unwrap_or_else(gone))
            }
        }
    }

    /// One of a peer's that has dialled to a process before.
    ///
    /// # Errors
    /// Nobody can go on with it: everything here is closed then.
    pub(crate) async fn answer_again(
        came: Link,
        left: &[u8],
        unit: adit_ppp_kernel::Unit,
        (link, world): (LinkConfig, Arc<dyn World>),
    ) -> Result<(Self, Restored), Failure> {
        let leaves = came.leaves.clone();
        let session = Self { leaves, ..Self::new(Start { mtu: link.mru, link, world }) };
        session.comes_up_again(came, left, unit).await
    }

    async fn comes_up_again(
        mut self,
        came: Link,
        left: &[u8],
        unit: adit_ppp_kernel::Unit,
    ) -> Result<(Self, Restored), Failure> {
        let Link { number, channel, session, over, orders, .. } = came;
        self.up = Some(Up { number, over, orders });
        if let Err(error) = unit.is_joined(&channel) {
            self.take_leave().await;
            return Err(error.into());
        }
        let Start { link, world, .. } = &self.start;
        let line = Line::Channel(channel, Box::new(session));
        let unit = Arc::new(Unit::Kernel(unit));
        let driver = Driver::go_on(link.clone(), left, line, unit, Arc::clone(world));
        let Some((driver, restored)) = driver else {
            self.take_leave().await;
            return Err(gone());
        };
        self.driver = Some(driver);
        if let Some(leaves) = &self.leaves {
            leaves.is_of(Arc::clone(&self.start.world));
        }
        self.hand_on();
        Ok((self, restored))
    }

    /// As the link stands now, for the next process.
    fn hand_on(&self) {
        if let (Some(leaves), Some(driver)) = (&self.leaves, &self.driver)
            && self.start.world.hands_on()
        {
            leaves.link(driver.unit(), driver.snapshot().filter(|_| self.up.is_some() && !self.bare));
        }
    }

    /// One of a peer's that has dialled. What fits its path is said by the link's MRU.
    pub(crate) fn answer(came: Link, link: LinkConfig, world: Arc<dyn World>) -> Self {
        let leaves = came.leaves.clone();
        let mut session = Self { leaves, ..Self::new(Start { mtu: link.mru, link, world }) };
        session.is_up(came);
        session
    }

    const fn new(start: Start) -> Self {
        Self {
            start,
            tunnel: None,
            driver: None,
            up: None,
            protection: None,
            bare: false,
            leaving: None,
            leaves: None,
        }
    }

    fn is_up(&mut self, came: Link) {
        let Link { number, channel, session, over, orders, .. } = came;
        let Start { mtu, link, world } = &self.start;
        let line = Line::Channel(channel, Box::new(session));
        self.driver = Some(Driver::start(link.clone(), line, *mtu, Arc::clone(world)));
        self.up = Some(Up { number, over, orders });
        if let Some(leaves) = &self.leaves {
            leaves.is_of(Arc::clone(&self.start.world));
        }
    }

    async fn go_on(&mut self) -> Happened {
        loop {
            self.hand_on();
            let of_link = async {
                match self.driver.as_mut() {
                    Some(driver) => driver.step().await,
                    None => std::future::pending().await,
                }
            };
            let (over, came) = match (&mut self.up, &mut self.tunnel) {
                (Some(up), _) => (Some(&mut up.over), None),
                (None, Some((running, links))) => (Some(&mut running.over), Some(links)),
                (None, None) => (None, None),
            };
            let ends = async {
                match over {
                    Some(over) => over.await.unwrap_or(Ok(())),
                    None => std::future::pending().await,
                }
            };
            let comes = async {
                match came {
                    Some(links) => links.recv().await,
                    None => std::future::pending().await,
                }
            };
            let bare = async {
                match self.protection.as_mut().filter(|_| !self.bare) {
                    Some(protection) => protection.over().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                why = bare => {
                    self.bare = true;
                    if let Some(happened) = self.is_over(Err(why)) {
                        return happened;
                    }
                }
                Some(link) = comes => self.is_up(link),
                happened = of_link => match happened {
                    Happened::Nothing => {}
                    happened => return happened,
                },
                why = ends => if let Some(happened) = self.is_over(why) {
                    return happened;
                },
            }
        }
    }

    /// The peer, or who else it was, has ended it. A link that knows better why it is over says so itself.
    fn is_over(&mut self, why: Result<(), Failure>) -> Option<Happened> {
        self.up = None;
        // While it takes leave nothing is taken away that protects it.
        let tunnel = self.tunnel.take().filter(|_| self.protection.is_some());
        self.leaving = tunnel.map(|(running, _)| running).or(self.leaving.take());
        let closed = || Failure::new(FailureCode::PeerClosed, Step::Call, "L2TP: the session is over");
        match &mut self.driver {
            Some(driver) => {
                driver.down(why.err().unwrap_or_else(closed));
                None
            }
            None => Some(Happened::Closed(why)),
        }
    }

    /// Ends the link, then the session, then the tunnel, telling the peer each time.
    async fn take_leave(mut self) {
        if let Some(leaves) = self.leaves.take() {
            leaves.end();
        }
        if let Some(driver) = &mut self.driver {
            let farewell = async {
                driver.close();
                while !driver.is_over() && !matches!(driver.step().await, Happened::Closed(_)) {}
            };
            // A peer that does not answer is not waited for longer.
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
        if let Some(Up { number, orders, .. }) = self.up.take() {
            orders.give(Order::Clear(number));
        }
        if let Some(driver) = self.driver.take() {
            driver.dismantle().await;
        }
        let own = self.tunnel.take().map(|(running, _)| running);
        for tunnel in own.into_iter().chain(self.leaving.take()) {
            tunnel.stop().await;
        }
        // Last: what tells the peer goes by it.
        if let Some(protection) = self.protection.take() {
            protection.end().await;
        }
    }
}

fn gone() -> Failure {
    Failure::new(FailureCode::PeerLost, Step::Link, "the link cannot be gone on with")
}

impl ppp::Session for Session {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Happened> + Send + '_>> {
        Box::pin(self.go_on())
    }

    fn unit(&self) -> Option<&Arc<Unit>> {
        self.driver.as_ref().and_then(Driver::unit)
    }

    fn end(self: Box<Self>) -> Later<()> {
        Box::pin(self.take_leave())
    }
}
