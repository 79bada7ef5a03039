//! The books, with a door that keeps its own.

use std::net::SocketAddr;
use std::sync::Arc;

use adit_core::{Identity, Path, Prefix, Secret, TrafficSelector};
use adit_ikev2::api::{ChildId, ChildMode, ChildSa, EspKeys, Input, Lease, Restored, RestoredChild, SaId};
use adit_isakmp::algorithm::{KeMethod, KeyBits, Prf};
use adit_isakmp::{Encryption, EspSuite, IkeSuite};
use adit_xfrm_kernel::{
    Direction, PolicyId, Recorded, RecordingXfrm, Selector, StateId, XfrmDoor, XfrmEvent,
};
use nix::errno::Errno;

use super::{Around, Awaited, Limits, Numbers, Sad};

const PEER: &str = "198.51.100.7:4500";
const ONE: SaId = SaId(1);
const TWO: SaId = SaId(2);

struct Kernel {
    door: Arc<RecordingXfrm>,
    sad: Sad,
    numbers: Numbers,
}

fn kernel() -> Kernel {
    let door = Arc::new(RecordingXfrm::default());
    let sad = Sad::new(Arc::clone(&door) as _);
    let numbers = sad.numbers();
    Kernel { door, sad, numbers }
}

fn path(remote: &str) -> Path {
    Path { local: "192.0.2.1:4500".parse().unwrap(), remote: remote.parse().unwrap() }
}

fn ts(prefix: &str) -> TrafficSelector {
    prefix.parse::<Prefix>().unwrap().into()
}

fn keys() -> EspKeys {
    EspKeys { encryption: Secret::new(vec![7; 36]), integrity: Secret::new(Vec::new()) }
}

/// The `n`th CHILD_SA, for one inner address: SPIs 0x1000 + n and 0x2000 + n.
fn child(n: u32, replaces: Option<u32>) -> ChildSa {
    let suite = EspSuite {
        encryption: Encryption::AesGcm16(KeyBits::B256),
        integrity: None,
        ke: None,
        additional: Default::default(),
        esn: true,
    };
    ChildSa {
        child: ChildId(n.into()),
        replaces: replaces.map(|n| ChildId(n.into())),
        mode: ChildMode::Tunnel,
        path: path(PEER),
        encapsulated: true,
        suite,
        inbound_spi: 0x1000 + n,
        inbound: keys(),
        outbound_spi: 0x2000 + n,
        outbound: Some(keys()),
        local_ts: vec![ts("0.0.0.0/0")],
        remote_ts: vec![ts("10.9.0.10/32")],
        lease: Lease::default(),
        remote_id: "client@example.com".parse::<Identity>().unwrap(),
        connection: None,
    }
}

impl Kernel {
    async fn install(&self, sa: SaId, child: ChildSa) {
        let numbers = match sa {
            ONE => self.numbers,
            _ => Numbers { reqid: self.numbers.reqid + 0x100, ..self.numbers },
        };
        self.sad.install(sa, child, numbers, Limits::default()).await.unwrap();
    }

    /// The last hexadecimal digits of the SPIs that stand.
    fn spis(&self) -> Vec<u32> {
        let mut spis: Vec<u32> = self.door.states().unwrap().iter().map(|s| s.id.spi).collect();
        spis.sort_unstable();
        spis
    }

    /// Whose outbound policy it is: its reqid, and where it leads.
    fn outbound_policy(&self) -> Option<(u32, String)> {
        let selector =
            Selector::pairs(&[ts("0.0.0.0/0")], &[ts("10.9.0.10/32")]).unwrap().first().copied().unwrap();
        let id =
            PolicyId { direction: Direction::Out, selector, if_id: Some(self.numbers.if_id), mark: None };
        let template = self.door.policy(&id)?.template?;
        Some((template.reqid, template.destination.to_string()))
    }

    /// From where to where packets asked for states that were forgotten.
    fn forgot(&self) -> Vec<(String, String)> {
        let each = |r: Recorded| match r {
            Recorded::Forgot { from, to } => Some((from.to_string(), to.to_string())),
            _ => None,
        };
        self.door.log().into_iter().filter_map(each).collect()
    }

    fn reqid_of(&self, spi: u32) -> u32 {
        self.door.states().unwrap().iter().find(|s| s.id.spi == spi).unwrap().reqid
    }
}

#[tokio::test]
async fn a_rekey_leaves_the_policies_alone_and_takes_in_what_is_on_the_way() {
    let k = kernel();
    k.install(ONE, child(1, None)).await;
    let before = k.outbound_policy();
    assert_eq!(before, Some((k.numbers.reqid, "198.51.100.7".into())));
    k.install(ONE, child(2, Some(1))).await;
    assert_eq!(k.spis(), [0x1001, 0x1002, 0x2001, 0x2002]);
    assert!(k.sad.close_child(ONE, ChildId(1), true).await.is_empty());
    // What the kernel is just sending has its state until it is out.
    assert_eq!(k.spis(), [0x1001, 0x1002, 0x2001, 0x2002]);
    assert_eq!(k.sad.states(ONE).map(|(i, o)| (i.spi, o.spi)), Some((0x1002, 0x2002)));
    assert!(k.sad.drain_now(ONE, ChildId(1)).is_empty());
    assert_eq!(k.spis(), [0x1001, 0x1002, 0x2002]);
    assert_eq!(k.sad.states(ONE).map(|(i, o)| (i.spi, o.spi)), Some((0x1002, 0x2002)));
    // What the seconds bring.
    assert!(k.sad.close_child(ONE, ChildId(1), false).await.is_empty());
    assert_eq!(k.spis(), [0x1002, 0x2002]);
    assert_eq!(k.outbound_policy(), before);
    let touched = |r: &&Recorded| matches!(r, Recorded::UpdatedPolicies(_) | Recorded::RemovedPolicies(_));
    let log = k.door.log();
    assert_eq!(log.iter().filter(touched).count(), 0, "{log:?}");

    assert!(k.sad.remove(ONE).await.is_empty());
    assert_eq!(k.door.standing(), (0, 0));
}

#[tokio::test]
async fn the_old_one_carries_until_the_peer_can_read_the_new_one() {
    let k = kernel();
    k.install(ONE, child(1, None)).await;
    k.install(ONE, ChildSa { outbound: None, ..child(2, Some(1)) }).await;
    assert_eq!(k.spis(), [0x1001, 0x1002, 0x2001]);
    assert_eq!(k.sad.states(ONE).map(|(_, o)| o.spi), Some(0x2001));
    k.sad.install_outbound(ONE, ChildId(2), keys()).await.unwrap();
    assert_eq!(k.spis(), [0x1001, 0x1002, 0x2001, 0x2002]);
    assert_eq!(k.reqid_of(0x2002), k.numbers.reqid);
    assert!(k.sad.install_outbound(ONE, ChildId(9), keys()).await.is_err());
}

#[tokio::test]
async fn several_children_have_reqids_of_their_own() {
    let k = kernel();
    k.install(ONE, child(1, None)).await;
    k.install(ONE, ChildSa { local_ts: vec![ts("10.0.0.0/8")], ..child(2, None) }).await;
    assert_ne!(k.reqid_of(0x2001), k.reqid_of(0x2002));
    assert_eq!(k.door.standing(), (4, 6));
    assert!(k.sad.close_child(ONE, ChildId(2), false).await.is_empty());
    assert_eq!(k.door.standing(), (2, 3));
}

#[tokio::test]
async fn two_ike_sas_of_one_identity_share_its_policies() {
    let k = kernel();
    k.install(ONE, child(1, None)).await;
    k.install(TWO, child(2, None)).await;
    let second = k.reqid_of(0x2002);
    assert_eq!(second, k.reqid_of(0x1001), "the policies let in what both take in");
    assert_eq!(k.outbound_policy().map(|p| p.0), Some(second));
    assert_eq!(k.door.standing(), (4, 3));
    // The old one goes, and takes nothing of the new one's along. What is on the way has its states yet.
    assert!(k.sad.remove(ONE).await.is_empty());
    assert_eq!(k.outbound_policy().map(|p| p.0), Some(second));
    assert_eq!(k.spis(), [0x1001, 0x1002, 0x2001, 0x2002]);
    assert_eq!(k.sad.states(TWO).map(|(i, o)| (i.spi, o.spi)), Some((0x1002, 0x2002)));
    // The other way round, the policies go back to whoever had them.
    k.install(ONE, child(3, None)).await;
    assert_eq!(k.outbound_policy().map(|p| p.0), Some(k.numbers.reqid));
    assert!(k.sad.remove(ONE).await.is_empty());
    assert_eq!(k.outbound_policy().map(|p| p.0), Some(second));
    assert!(k.sad.remove(TWO).await.is_empty());
    assert_eq!(k.door.standing(), (0, 0));
}

#[tokio::test]
async fn until_the_peer_can_read_the_new_ike_sas_child_the_old_ones_carries() {
    let k = kernel();
    k.install(ONE, child(1, None)).await;
    let before = k.outbound_policy();
    k.install(TWO, ChildSa { outbound: None, ..child(2, None) }).await;
    assert_eq!((k.outbound_policy(), k.reqid_of(0x1002)), (before.clone(), k.numbers.reqid));
    k.sad.install_outbound(TWO, ChildId(2), keys()).await.unwrap();
    assert_eq!((k.outbound_policy(), k.reqid_of(0x2002)), (before.clone(), k.numbers.reqid));
    // Events find both, and rekeys go on with the same reqid when the old one is gone.
    let expired = |destination: &str, spi| XfrmEvent::Expired {
        state: StateId { destination: destination.parse().unwrap(), spi, mark: None },
        reqid: k.numbers.reqid,
        if_id: Some(k.numbers.if_id),
        hard: false,
        bytes: 0,
        packets: 0,
    };
    assert!(matches!(k.sad.heard(&expired("192.0.2.1", 0x1001)), Some(Input::Rekey { sa: ONE, .. })));
    assert!(matches!(k.sad.heard(&expired("198.51.100.7", 0x2002)), Some(Input::Rekey { sa: TWO, .. })));
    assert!(k.sad.remove(ONE).await.is_empty());
    assert_eq!((k.outbound_policy(), k.spis()), (before, vec![0x1001, 0x1002, 0x2001, 0x2002]));
    assert!(
        k.sad.heard(&expired("198.51.100.7", 0x2001)).is_none(),
        "an IKE_SA that has ended rekeys nothing"
    );
    assert!(matches!(k.sad.heard(&expired("198.51.100.7", 0x2002)), Some(Input::Rekey { sa: TWO, .. })));
    k.install(TWO, child(3, Some(2))).await;
    assert_eq!(k.reqid_of(0x2003), k.numbers.reqid);
    assert_ne!(k.sad.numbers().reqid, k.numbers.reqid);
    assert!(k.sad.remove(TWO).await.is_empty());
    assert_eq!(k.door.standing(), (0, 0));
}

#[tokio::test]
async fn the_states_of_a_former_ike_sa_take_what_is_on_the_way() {
    let k = kernel();
    k.install(ONE, child(1, None)).await;
    k.install(TWO, child(2, None)).await;
    // The core tells of the end of each CHILD_SA before that of the IKE_SA.
    assert!(k.sad.close_child(ONE, ChildId(1), false).await.is_empty());
    assert!(k.sad.remove(ONE).await.is_empty());
    assert_eq!(k.spis(), [0x1001, 0x1002, 0x2001, 0x2002]);
    // What the seconds bring.
    let state = |to: &str, spi| StateId { destination: to.parse().unwrap(), spi, mark: None };
    assert!(k.sad.remove_left(TWO, &[state("198.51.100.7", 0x2001)]).is_empty());
    assert_eq!(k.spis(), [0x1001, 0x1002, 0x2002]);
    assert!(k.sad.remove_left(TWO, &[state("192.0.2.1", 0x1001)]).is_empty());
    assert_eq!(k.spis(), [0x1002, 0x2002]);
    // Another identity's, and those of an address that nobody has any more, go at once.
    let other = "other@example.com".parse::<Identity>().unwrap();
    let third = SaId(3);
    k.install(third, ChildSa { remote_id: other, ..child(3, None) }).await;
    assert!(k.sad.remove(TWO).await.is_empty());
    assert_eq!(k.spis(), [0x1003, 0x2003]);
    assert!(k.sad.remove(third).await.is_empty());
    assert_eq!(k.door.standing(), (0, 0));
}

#[tokio::test]
async fn another_peer_takes_the_policies_when_it_carries_and_lets_nobody_else_in_by_them() {
    let k = kernel();
    k.install(ONE, child(1, None)).await;
    let before = k.outbound_policy();
    let other = "other@example.com".parse::<Identity>().unwrap();
    k.install(TWO, ChildSa { outbound: None, remote_id: other, ..child(2, None) }).await;
    assert_eq!(k.outbound_policy(), before);
    assert_ne!(k.reqid_of(0x1002), k.numbers.reqid);
    k.sad.install_outbound(TWO, ChildId(2), keys()).await.unwrap();
    assert_eq!(k.outbound_policy().map(|p| p.0), Some(k.reqid_of(0x2002)));
    assert!(k.sad.remove(TWO).await.is_empty());
    assert_eq!(k.outbound_policy(), before);
}

/// Behind one NAT, with the same address at home and so with the same identity: only their ports differ.
#[tokio::test]
async fn marked_peers_of_one_address_have_policies_of_their_own() {
    let k = kernel();
    let behind = |n, port| {
        let path = path(&format!("198.51.100.7:{port}"));
        ChildSa { mode: ChildMode::Transport, path, ..child(n, None) }
    };
    let install = |sa, child| {
        let numbers = Numbers { marked: true, ..k.sad.numbers() };
        k.sad.install(sa, child, numbers, Limits::default())
    };
    install(ONE, behind(1, 4501)).await.unwrap();
    install(TWO, behind(2, 4502)).await.unwrap();
    assert_eq!(k.door.standing(), (4, 4));
    let marks = [ONE, TWO].map(|sa| k.sad.mark(sa).unwrap());
    assert_ne!(marks[0], marks[1]);
    let of_each = marks.map(|mark| {
        let policies = k.door.policies().unwrap();
        policies.iter().filter(|p| p.mark.is_some_and(|m| (m.value, m.mask) == (mark, u32::MAX))).count()
    });
    assert_eq!(of_each, [2, 2], "in and out");
    // One of them comes in anew, from where it was: the same policies let in what both of its own take in.
    let again = SaId(3);
    install(again, behind(3, 4501)).await.unwrap();
    assert_eq!(k.sad.mark(again), Some(marks[0]));
    assert_eq!((k.reqid_of(0x1003), k.door.standing()), (k.reqid_of(0x1001), (6, 4)));
    assert_ne!(k.reqid_of(0x1002), k.reqid_of(0x1001));
    for sa in [ONE, again] {
        assert!(k.sad.remove(sa).await.is_empty());
    }
    assert_eq!((k.sad.mark(TWO), k.door.standing()), (Some(marks[1]), (2, 2)));
    assert!(k.sad.remove(TWO).await.is_empty());
    assert_eq!(k.door.standing(), (0, 0));
}

/// What the next process is told of the `n`th CHILD_SA of a client of L2TP's.
fn left(sa: SaId, n: u32, path: Path) -> Around {
    let ChildSa { suite, local_ts, remote_ts, remote_id, lease, .. } = child(n, None);
    let child = RestoredChild {
        child: ChildId(n.into()),
        name: None,
        mode: ChildMode::Transport,
        suite,
        inbound_spi: 0x1000 + n,
        outbound_spi: 0x2000 + n,
        sends: true,
        replaced: false,
        local_ts,
        remote_ts,
    };
    let ike = IkeSuite {
        encryption: suite.encryption,
        integrity: None,
        prf: Prf::HmacSha256,
        ke: KeMethod::Ecp256,
        additional: Default::default(),
    };
    Around::from(&Restored {
        sa,
        path,
        encapsulated: true,
        mobike: None,
        local_id: remote_id.clone(),
        remote_id,
        ike,
        lease,
        children: vec![child],
    })
}

#[tokio::test]
async fn what_was_left_of_a_marked_peer_is_known_again_or_goes_alone() {
    let k = kernel();
    let behind = |port| path(&format!("198.51.100.7:{port}"));
    let mut reqids = Vec::new();
    for (sa, n, port) in [(ONE, 1, 4501), (TWO, 2, 4502)] {
        let numbers = Numbers { marked: true, ..k.sad.numbers() };
        reqids.push(numbers.reqid);
        let child = ChildSa { mode: ChildMode::Transport, path: behind(port), ..child(n, None) };
        k.sad.install(sa, child, numbers, Limits::default()).await.unwrap();
    }
    assert_eq!(k.door.standing(), (4, 4));
    let next = Sad::new(Arc::clone(&k.door) as _);
    let of = |reqid| (None, Numbers { marked: true, ..Numbers::of_reqid(reqid).unwrap() });
    let unmarked = (None, Numbers::of_reqid(reqids[0]).unwrap());
    assert!(next.adopt_transport(&left(ONE, 1, behind(4501)), unmarked, Limits::default()).is_err());
    assert!(next.adopt_transport(&left(ONE, 1, behind(4501)), of(reqids[1]), Limits::default()).is_err());
    assert!(next.adopt_transport(&left(ONE, 3, behind(4501)), of(reqids[0]), Limits::default()).is_err());
    next.adopt_transport(&left(ONE, 1, behind(4501)), of(reqids[0]), Limits::default()).unwrap();
    assert_eq!(next.mark(ONE), k.sad.mark(ONE));
    assert_eq!(k.door.standing(), (4, 4), "nothing is asked of the kernel");
    // Nobody goes on with the other one.
    assert!(next.remove_marked_with(reqids[1]).is_empty());
    assert_eq!(k.door.standing(), (2, 2));
    assert!(next.remove(ONE).await.is_empty());
    assert_eq!(k.door.standing(), (0, 0));
}

#[tokio::test]
async fn what_the_kernel_refuses_leaves_nothing_and_the_former_owner_whole() {
    let k = kernel();
    k.install(ONE, child(1, None)).await;
    let before = (k.door.standing(), k.outbound_policy());
    k.door.refuse_next(Errno::ENOMEM);
    assert!(k.sad.install(TWO, child(2, None), k.sad.numbers(), Limits::default()).await.is_err());
    assert_eq!((k.door.standing(), k.outbound_policy()), before);
    k.install(TWO, child(3, None)).await;
    assert!(k.sad.remove(TWO).await.is_empty());
    assert_eq!((k.door.standing(), k.outbound_policy()), before);
}

#[tokio::test]
async fn a_peer_that_moves_is_followed_by_every_child() {
    let k = kernel();
    k.install(ONE, child(1, None)).await;
    k.install(ONE, child(2, Some(1))).await;
    k.install(ONE, ChildSa { local_ts: vec![ts("10.0.0.0/8")], ..child(3, None) }).await;
    k.sad.follow(ONE, path("203.0.113.9:61000"), true);
    // In its turn.
    k.sad.allocate_spi(TWO, path(PEER), k.numbers).await.unwrap();
    let moved = |s: &StateId| s.destination.to_string() == "203.0.113.9";
    let states = k.door.states().unwrap();
    assert_eq!(states.iter().filter(|s| moved(&s.id)).count(), 3, "{states:?}");
    assert_eq!(k.outbound_policy().map(|p| p.1), Some("203.0.113.9".into()));
    assert_eq!(k.sad.states(ONE).map(|(_, o)| moved(&o)), Some(true));
    assert!(k.sad.remove(ONE).await.is_empty());
    assert_eq!(k.door.standing(), (1, 0), "one SPI of another");
}

/// A packet that meets no outbound state while our own address changes has the kernel note one, by either address, and not at
/// once: whatever ends the wait for stragglers ends that too.
#[tokio::test]
async fn what_a_packet_asked_for_in_a_move_is_forgotten_when_the_former_address_is() {
    let pair = |from: &str| (from.to_owned(), "198.51.100.7".to_owned());
    let at = |local: &str| Path { local: format!("{local}:4500").parse().unwrap(), ..path(PEER) };
    let k = kernel();
    k.install(ONE, child(1, None)).await;
    k.sad.follow(ONE, at("192.0.2.9"), true);
    k.sad.follow(ONE, at("192.0.2.10"), true);
    assert!(k.sad.remove(ONE).await.is_empty());
    let each = [pair("192.0.2.1"), pair("192.0.2.9"), pair("192.0.2.9"), pair("192.0.2.10")];
    assert_eq!(k.forgot(), each, "by the next move, and by the end");
    assert_eq!(k.door.standing(), (0, 0));

    let k = kernel();
    k.install(ONE, child(1, None)).await;
    k.sad.follow(ONE, at("192.0.2.9"), true);
    let former = StateId { destination: "192.0.2.1".parse().unwrap(), spi: 0x1001, mark: None };
    // In its turn, what the second brings.
    k.sad.allocate_spi(TWO, path(PEER), k.numbers).await.unwrap();
    assert!(k.sad.remove_left(ONE, &[former]).is_empty());
    assert_eq!(k.forgot(), [pair("192.0.2.1"), pair("192.0.2.9")]);
    assert!(k.sad.remove(ONE).await.is_empty());
    assert_eq!(k.forgot().len(), 2, "once");
}

#[tokio::test]
async fn what_cannot_be_moved_is_rekeyed_to_the_new_address() {
    let k = kernel();
    k.install(ONE, child(1, None)).await;
    k.door.refuse_next(Errno::EINVAL);
    k.sad.follow(ONE, path("203.0.113.9:61000"), true);
    let elsewhere = ChildSa { path: path("203.0.113.9:61000"), ..child(2, Some(1)) };
    k.install(ONE, elsewhere).await;
    assert_eq!(k.outbound_policy(), Some((k.numbers.reqid, "203.0.113.9".into())));
    assert!(k.sad.close_child(ONE, ChildId(1), true).await.is_empty());
    assert!(k.sad.drain_now(ONE, ChildId(1)).is_empty());
    assert_eq!(k.spis(), [0x1001, 0x1002, 0x2002]);
}

#[tokio::test]
async fn events_find_their_child() {
    let k = kernel();
    k.install(ONE, child(1, None)).await;
    let inbound = k.sad.states(ONE).unwrap().0;
    let expired = |spi, hard| XfrmEvent::Expired {
        state: StateId { spi, ..inbound },
        reqid: k.numbers.reqid,
        if_id: Some(k.numbers.if_id),
        hard,
        bytes: 0,
        packets: 0,
    };
    let one = Some(ChildId(1));
    assert!(
        matches!(k.sad.heard(&expired(0x1001, false)), Some(Input::Rekey { sa: ONE, child }) if child == one)
    );
    assert!(matches!(
        k.sad.heard(&expired(0x2001, true)),
        Some(Input::CloseChild { sa: ONE, child: ChildId(1) })
    ));
    assert!(k.sad.heard(&expired(0x9999, true)).is_none(), "a larval state");
    let mapping = |new: &str| XfrmEvent::Mapping {
        state: inbound,
        reqid: k.numbers.reqid,
        old: PEER.parse().unwrap(),
        new: new.parse().unwrap(),
    };
    let to: SocketAddr = "198.51.100.7:61000".parse().unwrap();
    assert!(
        matches!(k.sad.heard(&mapping("198.51.100.7:61000")), Some(Input::Mapping { sa: ONE, remote }) if remote == to)
    );
    assert!(k.sad.heard(&mapping(PEER)).is_none(), "it is there already");
    // A rekeyed one is on its way out.
    k.install(ONE, child(2, Some(1))).await;
    k.sad.close_child(ONE, ChildId(1), true).await;
    assert!(k.sad.heard(&expired(0x1001, true)).is_none());
    // Lost events: a state that is gone is missed.
    assert!(k.sad.missed().await.is_empty());
    k.door.remove_states(&[StateId { spi: 0x1002, ..inbound }]);
    assert!(matches!(k.sad.missed().await.as_slice(), [Input::CloseChild { sa: ONE, child: ChildId(2) }]));
}

#[tokio::test]
async fn a_trap_tells_of_the_first_packet_and_of_the_next_ones_again() {
    let k = kernel();
    let trap = k.sad.numbers();
    let of = Awaited {
        reqid: trap.reqid,
        path: path(PEER),
        mode: ChildMode::Tunnel,
        local_ts: vec![ts("0.0.0.0/0")],
        remote_ts: vec![ts("10.9.0.10/32")],
    };
    let wake = k.sad.trap(of).await.unwrap();
    // By the way that packets have without a tunnel.
    assert_eq!(k.door.standing(), (0, 3));
    assert!(k.door.policies().unwrap().iter().all(|p| p.if_id.is_none()));
    let acquire = XfrmEvent::Acquire {
        local: "192.0.2.1".parse().unwrap(),
        remote: "198.51.100.7".parse().unwrap(),
        reqid: trap.reqid,
        if_id: None,
        packet_source: "10.1.0.1".parse().unwrap(),
        packet_destination: "10.9.0.10".parse().unwrap(),
        protocol: 1,
    };
    assert!(k.sad.heard(&acquire).is_none());
    wake.notified().await;
    k.install(ONE, child(1, None)).await;
    assert_eq!(k.sad.all_states(ONE).len(), 2);
    assert!(k.sad.remove_trap(trap.reqid).await.is_empty());
    assert_eq!(k.door.standing(), (2, 3));
    // What the kernel remembers of the packet goes.
    assert_eq!(k.forgot(), [("192.0.2.1".to_owned(), "198.51.100.7".to_owned())]);
}

#[tokio::test]
async fn in_transport_mode_a_trap_stays_under_the_child() {
    let k = kernel();
    let mode = ChildMode::Transport;
    let trap = |reqid| Awaited {
        reqid,
        path: path(PEER),
        mode,
        local_ts: vec![ts("192.0.2.1")],
        remote_ts: vec![ts("198.51.100.7")],
    };
    let reqids = || {
        let policies = k.door.policies().unwrap();
        let of = |id: &PolicyId| k.door.policy(id).unwrap().template.unwrap().reqid;
        policies.iter().map(of).collect::<Vec<_>>()
    };
    let [one, two] = [k.sad.numbers().reqid, k.sad.numbers().reqid];
    k.sad.trap(trap(one)).await.unwrap();
    k.install(ONE, ChildSa { mode, ..child(1, None) }).await;
    assert_eq!(reqids(), [k.numbers.reqid; 2]);
    // The next one comes before the tunnel and the first one go: never without a policy.
    k.sad.trap(trap(two)).await.unwrap();
    assert!(k.sad.remove_trap(one).await.is_empty());
    assert_eq!(reqids(), [k.numbers.reqid; 2]);
    assert!(k.sad.remove(ONE).await.is_empty());
    assert_eq!(reqids(), [two; 2]);
    assert!(k.sad.remove_trap(two).await.is_empty());
    assert_eq!(k.door.standing(), (0, 0));
}

#[tokio::test]
async fn transport_mode_is_between_the_outer_addresses_and_has_no_interface() {
    let k = kernel();
    let mode = ChildMode::Transport;
    k.install(ONE, ChildSa { mode, local_ts: vec![ts("192.168.1.7")], ..child(1, None) }).await;
    let policies = k.door.policies().unwrap();
    let texts: Vec<String> = policies.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["in 198.51.100.7/32 to 192.0.2.1/32", "out 192.0.2.1/32 to 198.51.100.7/32"]);
    assert!(policies.iter().all(|p| p.if_id.is_none()));
    assert!(k.sad.remove(ONE).await.is_empty());
    assert_eq!(k.door.standing(), (0, 0));
}
