use proptest::prelude::*;

use super::*;
use adit_core::Prefix;

const SERVER: &str = "198.51.100.1";

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn link(name: &str, kind: LinkKind, source: &str, metric: u32) -> Uplink {
    let source: IpAddr = source.parse().unwrap();
    let reaches = vec![if source.is_ipv4() { Prefix::ANY_V4 } else { Prefix::ANY_V6 }];
    Uplink {
        name: name.into(),
        kind,
        metered: kind == LinkKind::Wwan,
        limited: false,
        addresses: vec![source],
        ways: vec![Way { source, reaches, metric }],
    }
}

fn wifi() -> Uplink {
    link("wlan0", LinkKind::Wifi, "192.0.2.7", 600)
}

fn wwan() -> Uplink {
    link("wwan0", LinkKind::Wwan, "203.0.113.50", 700)
}

fn wired() -> Uplink {
    link("eth0", LinkKind::Wired, "192.168.5.5", 100)
}

fn path(from: &str, to: &str) -> Path {
    let at = |a: &str| SocketAddr::new(a.parse().unwrap(), 4500);
    Path { local: at(from), remote: at(to) }
}

fn over_wifi() -> Path {
    path("192.0.2.7", SERVER)
}

fn over_wwan() -> Path {
    path("203.0.113.50", SERVER)
}

fn over_wire() -> Path {
    path("192.168.5.5", SERVER)
}

/// Up over the Wi-Fi.
fn up() -> Mobility {
    let wishes = Wishes { outage: Some(Duration::from_secs(1800)), ..Wishes::default() };
    let mut m = Mobility::new(at(0), wishes, over_wifi(), &[]);
    assert_eq!(give(&mut m, 0, Input::Uplinks(vec![wifi()])), []);
    m
}

fn give(m: &mut Mobility, ms: u64, input: Input) -> Vec<Act> {
    m.handle(at(ms), input);
    core::iter::from_fn(|| m.poll()).filter(|a| *a != Act::Sample).collect()
}

/// Lets time pass; everything that is wanted until then.
fn pass(m: &mut Mobility, until: u64) -> Vec<Act> {
    let mut acts = Vec::new();
    while let Some(next) = m.deadline().filter(|d| *d <= at(until)) {
        m.handle(next, Input::Wake);
        acts.extend(core::iter::from_fn(|| m.poll()).filter(|a| *a != Act::Sample));
    }
    acts
}

fn answers(m: &mut Mobility, ms: u64, path: Path) -> Vec<Act> {
    give(m, ms, Input::Path(PathNews::Answered(path, Duration::from_millis(50))))
}

#[test]
fn a_link_that_is_lost_is_left_at_once() {
    let mut m = up();
    assert_eq!(give(&mut m, 1000, Input::Uplinks(vec![wifi(), wwan()])), []);
    let acts = give(&mut m, 5000, Input::Uplinks(vec![wwan()]));
    assert_eq!(acts, [Act::Move(over_wwan()), Act::Standing(Standing::Waiting)]);
    assert_eq!(answers(&mut m, 5050, over_wwan()), [Act::Standing(Standing::Connected)]);
    assert_eq!((m.path(), m.link()), (over_wwan(), Some("wwan0")));
}

#[test]
fn a_link_that_the_system_calls_limited_is_tried_with_all_others_and_left_if_it_does_not_answer() {
    let limited = || Uplink { limited: true, ..wifi() };
    let mut m = up();
    give(&mut m, 1000, Input::Uplinks(vec![wifi(), wwan()]));
    assert_eq!(pass(&mut m, 5000), []);
    let acts = give(&mut m, 5000, Input::Uplinks(vec![limited(), wwan()]));
    // What may cost money is tried too: it is not done periodically.
    let [Act::Probe(paths)] = &acts[..] else { panic!("{acts:?}") };
    assert!(paths.len() == 2 && paths.contains(&over_wifi()) && paths.contains(&over_wwan()), "{paths:?}");
    assert_eq!(answers(&mut m, 5050, over_wwan()), []);
    let acts = pass(&mut m, 5600);
    assert!(acts.contains(&Act::Move(over_wwan())), "{acts:?}");
}

#[test]
fn a_limited_link_that_answers_is_kept_and_not_suspected_again() {
    let limited = || Uplink { limited: true, ..wifi() };
    let mut m = up();
    give(&mut m, 1000, Input::Uplinks(vec![wifi(), wwan()]));
    pass(&mut m, 5000);
    give(&mut m, 5000, Input::Uplinks(vec![limited(), wwan()]));
    assert_eq!(answers(&mut m, 5040, over_wwan()), []);
    assert_eq!(answers(&mut m, 5050, over_wifi()), []);
    assert_eq!(pass(&mut m, 9000), []);
    // Other news of a link that has been limited all the time are none of it.
    assert_eq!(give(&mut m, 9000, Input::Uplinks(vec![limited()])), []);
    assert_eq!((m.path(), m.standing().0), (over_wifi(), Standing::Connected));
}

#[test]
fn of_two_links_the_one_that_is_not_limited_comes_first() {
    let mut m = up();
    let limited = Uplink { limited: true, ..wired() };
    let acts = give(&mut m, 1000, Input::Uplinks(vec![limited, wwan()]));
    assert_eq!(acts[0], Act::Move(over_wwan()));
}

#[test]
fn another_address_on_the_same_link_is_moved_to() {
    let mut m = up();
    let other = link("wlan0", LinkKind::Wifi, "192.0.2.99", 600);
    let acts = give(&mut m, 1000, Input::Uplinks(vec![other]));
    assert_eq!(acts[0], Act::Move(path("192.0.2.99", SERVER)));
}

#[test]
fn no_link_is_dormant_and_the_first_one_wakes_it() {
    let mut m = up();
    assert_eq!(give(&mut m, 1000, Input::Uplinks(vec![])), [Act::Standing(Standing::Dormant)]);
    let looks = pass(&mut m, 60_000);
    assert!(looks.iter().all(|a| *a == Act::Look) && (4..8).contains(&looks.len()), "{looks:?}");
    let acts = give(&mut m, 121_000, Input::Uplinks(vec![wwan()]));
    assert_eq!(acts, [Act::Move(over_wwan()), Act::Standing(Standing::Waiting)]);
}

#[test]
fn dormant_for_too_long_it_ends() {
    let mut m = up();
    give(&mut m, 1000, Input::Uplinks(vec![]));
    let acts = pass(&mut m, 4_000_000);
    assert_eq!(acts.last(), Some(&Act::End));
    assert_eq!((m.deadline(), m.standing().0), (None, Standing::Dormant));
}

#[test]
fn a_better_path_is_proven_first_and_taken_then() {
    let mut m = up();
    assert_eq!(give(&mut m, 1000, Input::Uplinks(vec![wifi(), wired()])), [], "not at once");
    assert_eq!(pass(&mut m, 1600), [Act::Probe(vec![over_wire()])]);
    assert_eq!(m.path(), over_wifi());
    let acts = answers(&mut m, 1650, over_wire());
    assert_eq!(acts, [Act::Move(over_wire()), Act::Standing(Standing::Waiting)]);
    // A worse one is nothing to go to, and not tried.
    answers(&mut m, 1700, over_wire());
    assert_eq!(give(&mut m, 2000, Input::Uplinks(vec![wifi(), wired(), wwan()])), []);
    assert_eq!(pass(&mut m, 60_000), []);
}

#[test]
fn where_the_best_path_leads_nowhere_the_second_best_is_taken() {
    let inside: IpAddr = "10.1.0.1".parse().unwrap();
    let mut m = Mobility::new(at(0), Wishes::default(), over_wwan(), &[inside]);
    give(&mut m, 0, Input::Uplinks(vec![wwan()]));
    give(&mut m, 1000, Input::Uplinks(vec![wwan(), wired(), wifi()]));
    let all = [over_wire(), path("192.168.5.5", "10.1.0.1"), over_wifi(), path("192.0.2.7", "10.1.0.1")];
    assert_eq!(pass(&mut m, 1600), [Act::Probe(all.to_vec())]);
    assert_eq!(answers(&mut m, 1700, over_wifi())[0], Act::Move(over_wifi()));
    answers(&mut m, 1750, over_wifi());
    // It may still come to lead somewhere.
    let acts = pass(&mut m, 10_000);
    assert_eq!(acts[0], Act::Probe(all[..2].to_vec()));
    assert_eq!(answers(&mut m, 10_050, path("192.168.5.5", "10.1.0.1"))[0], Act::Move(all[1]));
}

#[test]
fn what_a_person_prefers_wins_over_metrics() {
    let wishes = Wishes { prefer: vec!["wifi".into(), "eth0".into()], ..Wishes::default() };
    let mut m = Mobility::new(at(0), wishes, over_wifi(), &[]);
    give(&mut m, 0, Input::Uplinks(vec![wifi(), wired()]));
    assert_eq!(pass(&mut m, 5000), []);
    let acts = give(&mut m, 6000, Input::Uplinks(vec![wwan(), wired()]));
    assert_eq!(acts[0], Act::Move(over_wire()));
}

#[test]
fn a_dead_path_that_looks_alive_is_left_within_two_seconds() {
    let mut m = up();
    give(&mut m, 0, Input::Uplinks(vec![wifi(), wwan()]));
    let mut acts = Vec::new();
    let mut suspected = None;
    for n in 1..=20 {
        let ms = n * 100;
        let received = if ms <= 1000 { n } else { 10 };
        acts.extend(give(&mut m, ms, Input::Traffic { sent: n, received }));
        if suspected.is_none() && acts.iter().any(|a| matches!(a, Act::Probe(p) if p.contains(&over_wwan())))
        {
            suspected = Some(ms);
            answers(&mut m, ms + 60, over_wwan());
            acts.extend(pass(&mut m, ms + 400));
            break;
        }
    }
    assert!(acts.contains(&Act::Move(over_wwan())), "{acts:?}");
    assert!(suspected.is_some_and(|ms| ms + 400 <= 1000 + 2000));
}

/// A tunnel that carries a packet every 10 ms from `busy` on; nothing comes back from `hole` on. When it is left.
fn left_at(busy: u64, hole: u64) -> u64 {
    let mut m = up();
    give(&mut m, 0, Input::Uplinks(vec![wifi(), wwan()]));
    let mut answer = None;
    loop {
        let next = m.deadline().unwrap();
        let ms = next.since(at(0)).as_millis() as u64;
        match answer.take_if(|answer| at(*answer) <= next) {
            Some(due) => {
                m.handle(at(due), Input::Path(PathNews::Answered(over_wwan(), Duration::from_millis(60))))
            }
            None => m.handle(next, Input::Wake),
        }
        while let Some(act) = m.poll() {
            let carried = |until: u64| until.saturating_sub(busy) / 10;
            match act {
                Act::Sample => {
                    let traffic = Input::Traffic { sent: carried(ms), received: carried(ms.min(hole)) };
                    m.handle(next, traffic);
                }
                Act::Probe(paths) if paths.contains(&over_wwan()) => answer = Some(ms + 60),
                Act::Move(_) => return ms,
                _ => {}
            }
        }
    }
}

#[test]
fn whenever_a_path_dies_it_is_left_within_one_and_a_half_seconds() {
    for hole in (20_000..22_000).step_by(10) {
        let left = left_at(0, hole);
        assert!(left <= hole + 1500, "it died at {hole} ms and was left at {left} ms");
    }
}

#[test]
fn one_that_died_while_nothing_was_said_is_left_within_two_seconds_of_the_first_word() {
    for busy in (30_000..32_000).step_by(10) {
        let left = left_at(busy, 25_000);
        assert!(left <= busy + 2000, "first packet at {busy} ms, left at {left} ms");
    }
}

#[test]
fn one_way_traffic_over_a_path_that_answers_moves_nothing() {
    let mut m = up();
    give(&mut m, 0, Input::Uplinks(vec![wifi(), wwan()]));
    let mut probes = 0;
    for n in 1..=600 {
        for act in give(&mut m, n * 100, Input::Traffic { sent: n, received: 0 }) {
            assert!(matches!(act, Act::Probe(_)), "{act:?}");
            probes += 1;
            assert_eq!(answers(&mut m, n * 100 + 5, over_wwan()), []);
            // The peer may think that it is elsewhere.
            assert_eq!(answers(&mut m, n * 100 + 10, over_wifi()), [Act::Tell(over_wifi())]);
        }
    }
    assert!((1..6).contains(&probes), "{probes} in a minute");
    assert_eq!(m.path(), over_wifi());
}

#[test]
fn a_request_that_is_not_answered_is_reason_enough() {
    let mut m = up();
    give(&mut m, 0, Input::Uplinks(vec![wifi(), wwan()]));
    let acts = give(&mut m, 1000, Input::Path(PathNews::Unanswered));
    assert_eq!(acts, [Act::Probe(vec![over_wifi(), over_wwan()])]);
    answers(&mut m, 1040, over_wwan());
    assert_eq!(pass(&mut m, 1400)[0], Act::Move(over_wwan()));
}

#[test]
fn what_was_given_up_is_asked_again_when_the_tunnel_brings_something() {
    let mut m = up();
    let traffic = |sent, received| Input::Traffic { sent, received };
    give(&mut m, 1000, traffic(1, 1));
    give(&mut m, 30_000, Input::Path(PathNews::Dead));
    assert_eq!(give(&mut m, 31_000, traffic(100, 50)), [Act::Probe(vec![over_wifi()])]);
    assert_eq!(give(&mut m, 31_250, traffic(120, 70)), []);
}

#[test]
fn of_many_paths_the_first_that_answers_is_taken() {
    let wishes = Wishes::default();
    let inside = "10.1.0.1".parse().unwrap();
    let mut m = Mobility::new(at(0), wishes, over_wwan(), &[inside]);
    give(&mut m, 0, Input::Uplinks(vec![wwan()]));
    // Into the office: only the inside address answers there.
    let acts = give(&mut m, 1000, Input::Uplinks(vec![wired()]));
    assert_eq!(acts[0], Act::Move(over_wire()));
    assert_eq!(pass(&mut m, 1200), [Act::Probe(vec![path("192.168.5.5", "10.1.0.1")])]);
    let acts = answers(&mut m, 1250, path("192.168.5.5", "10.1.0.1"));
    assert_eq!(acts[0], Act::Move(path("192.168.5.5", "10.1.0.1")));
}

#[test]
fn nobody_answers_anywhere_begins_anew() {
    let mut m = up();
    give(&mut m, 1000, Input::Path(PathNews::Unanswered));
    let acts = pass(&mut m, 100_000);
    assert_eq!(acts.last(), Some(&Act::Reconnect));
}

#[test]
fn a_link_that_comes_and_goes_drags_nothing_along() {
    let mut m = up();
    let mut moves = 0;
    for n in 0..10_u64 {
        let ms = 1000 + n * 6000;
        for links in [vec![wifi(), wired()], vec![wifi()]] {
            let ms = if links.len() == 2 { ms } else { ms + 3000 };
            let mut acts = give(&mut m, ms, Input::Uplinks(links));
            acts.extend(pass(&mut m, ms + 700));
            if acts.contains(&Act::Probe(vec![over_wire()])) {
                acts.extend(answers(&mut m, ms + 750, over_wire()));
            }
            moves += acts.iter().filter(|a| matches!(a, Act::Move(_))).count();
            if m.standing().0 == Standing::Waiting {
                let path = m.path();
                answers(&mut m, ms + 800, path);
            }
        }
    }
    assert!(moves <= 7, "{moves} moves");
    // When it has been quiet for a while, it is good again.
    give(&mut m, 80_000, Input::Uplinks(vec![wifi(), wired()]));
    assert!(pass(&mut m, 240_000).contains(&Act::Probe(vec![over_wire()])));
}

#[test]
fn a_server_that_has_moved_is_followed() {
    let mut m = up();
    let acts = give(&mut m, 1000, Input::Path(PathNews::Peers(vec!["198.51.100.2".parse().unwrap()])));
    assert_eq!(acts[0], Act::Move(path("192.0.2.7", "198.51.100.2")));
    assert_eq!(
        give(
            &mut m,
            1100,
            Input::Path(PathNews::Peers(vec!["198.51.100.2".parse().unwrap(), SERVER.parse().unwrap()]))
        ),
        []
    );
}

/// What is asked over one path is asked over all: their answers come at the same time, again and again.
#[test]
fn between_paths_that_answer_alike_it_settles_on_one() {
    let mut m = up();
    give(&mut m, 1000, Input::Uplinks(vec![wifi(), wwan(), wired()]));
    give(&mut m, 2000, Input::Uplinks(vec![wwan(), wired()]));
    assert_eq!((m.path(), m.standing().0), (over_wire(), Standing::Waiting));
    // It goes where an answer comes from, and waits for that one's own: the other is as good, and no reason to leave.
    assert_eq!(answers(&mut m, 2010, over_wwan()), [Act::Move(over_wwan())]);
    assert_eq!(answers(&mut m, 2010, over_wire()), []);
    assert_eq!(answers(&mut m, 2020, over_wwan())[0], Act::Standing(Standing::Connected));
    // One that has answered and then does not is left, after a while.
    let mut m = up();
    give(&mut m, 1000, Input::Uplinks(vec![wifi(), wwan(), wired()]));
    give(&mut m, 2000, Input::Uplinks(vec![wwan(), wired()]));
    answers(&mut m, 2010, over_wwan());
    answers(&mut m, 2010, over_wire());
    assert!(pass(&mut m, 2600).contains(&Act::Move(over_wire())));
}

#[test]
fn after_a_sleep_the_path_is_looked_at() {
    let mut m = up();
    m.handle(at(3_600_000), Input::Wake);
    let acts: Vec<Act> = core::iter::from_fn(|| m.poll()).collect();
    assert!(acts.contains(&Act::Look) && acts.contains(&Act::Probe(vec![over_wifi()])), "{acts:?}");
}

#[test]
fn who_is_told_of_a_sleep_looks_however_short_it_was() {
    let mut m = up();
    give(&mut m, 1000, Input::Uplinks(vec![wifi(), wwan()]));
    pass(&mut m, 5000);
    let acts = give(&mut m, 5100, Input::Resumed);
    assert!(acts.contains(&Act::Look), "{acts:?}");
    assert!(acts.contains(&Act::Probe(vec![over_wifi(), over_wwan()])), "{acts:?}");
    // Said twice, by the kernel and by logind, it is tried once.
    let again = give(&mut m, 5150, Input::Resumed);
    assert!(!again.iter().any(|act| matches!(act, Act::Probe(_))), "{again:?}");
}

#[test]
fn a_night_asleep_is_no_outage() {
    const NIGHT: u64 = 8 * 3_600_000;
    let mut m = up();
    give(&mut m, 1000, Input::Uplinks(vec![]));
    pass(&mut m, 10_000);
    assert_eq!(give(&mut m, NIGHT, Input::Wake), [Act::Look]);
    let awake = pass(&mut m, NIGHT + 1_700_000);
    assert!(awake.iter().all(|a| *a == Act::Look), "{awake:?}");
    assert_eq!(pass(&mut m, NIGHT + 1_900_000).last(), Some(&Act::End));
}

#[test]
fn a_peer_that_was_asked_before_a_night_asleep_is_asked_again() {
    const NIGHT: u64 = 8 * 3_600_000;
    let mut m = up();
    give(&mut m, 1000, Input::Uplinks(vec![wwan()]));
    let acts = give(&mut m, NIGHT, Input::Wake);
    assert!(acts.contains(&Act::Look) && acts.contains(&Act::Probe(vec![over_wwan()])), "{acts:?}");
    assert!(!acts.contains(&Act::Reconnect), "{acts:?}");
}

#[test]
fn what_is_late_news_moves_nothing_back() {
    let mut m = up();
    give(&mut m, 1000, Input::Uplinks(vec![wifi(), wwan(), wired()]));
    give(&mut m, 2000, Input::Uplinks(vec![wwan()]));
    assert_eq!(give(&mut m, 2001, Input::Uplinks(vec![wired()]))[0], Act::Move(over_wire()));
    // Both moves are confirmed when the second has been decided.
    assert_eq!(give(&mut m, 2002, Input::Path(PathNews::Changed(over_wwan()))), []);
    assert_eq!(give(&mut m, 2003, Input::Path(PathNews::Changed(over_wire()))), []);
    assert_eq!(m.path(), over_wire());
    // The peer took a copy that came over another path: that is where both are now.
    let inside = path("192.168.5.5", "10.1.0.1");
    let acts = give(&mut m, 2010, Input::Path(PathNews::Changed(inside)));
    assert!(!acts.iter().any(|a| matches!(a, Act::Move(_))), "{acts:?}");
    assert_eq!(m.path(), inside);
}

#[test]
fn a_peer_that_cannot_be_asked_is_not_suspected() {
    let wishes = Wishes { untestable: true, ..Wishes::default() };
    let mut m = Mobility::new(at(0), wishes, over_wifi(), &[]);
    assert_eq!(give(&mut m, 0, Input::Uplinks(vec![wifi(), wired()])), []);
    for n in 1..=2000 {
        assert_eq!(give(&mut m, n * 100, Input::Traffic { sent: n, received: 0 }), []);
    }
    m.handle(at(3_600_000), Input::Wake);
    assert_eq!(pass(&mut m, 3_800_000), [Act::Look]);
    assert_eq!(give(&mut m, 3_800_001, Input::Uplinks(vec![wired()]))[0], Act::Move(over_wire()));
}

#[test]
fn a_path_that_is_refused_is_left_for_another() {
    let mut m = up();
    give(&mut m, 0, Input::Uplinks(vec![wifi(), wwan()]));
    assert_eq!(give(&mut m, 10, Input::Path(PathNews::Refused(over_wifi())))[0], Act::Move(over_wwan()));
}

#[derive(Clone, Debug)]
enum Chance {
    Links(u8),
    Answers(u8),
    Unanswered,
    Dead,
    Peers(u8),
    Traffic(u8, u8),
    Time(u16),
}

fn chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        any::<u8>().prop_map(Chance::Links),
        any::<u8>().prop_map(Chance::Answers),
        Just(Chance::Unanswered),
        Just(Chance::Dead),
        any::<u8>().prop_map(Chance::Peers),
        (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Chance::Traffic(a, b)),
        any::<u16>().prop_map(Chance::Time),
    ]
}

proptest! {
    /// Whatever happens: it is dormant exactly where no link reaches the peer, it moves only over links that are there,
    /// it always has something to wait for, and it asks for little at a time.
    #[test]
    fn it_is_where_it_can_be(chances in proptest::collection::vec(chance(), 1..80)) {
        let links = [wifi(), wwan(), wired(), link("eth0", LinkKind::Wired, "2001:db8::5", 100)];
        let servers: [IpAddr; 3] = [SERVER.parse().unwrap(), "198.51.100.2".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let mut m = Mobility::new(at(0), Wishes::default(), over_wifi(), &servers);
        let (mut now, mut there, mut sent, mut received) = (at(0), vec![wifi()], 0, 0);
        m.handle(now, Input::Uplinks(there.clone()));
        for chance in chances {
            let pick = |bits: u8| links.iter().enumerate().filter(move |(n, _)| bits >> n & 1 == 1).map(|(_, l)| l.clone());
            match chance {
                Chance::Links(bits) => {
                    there = pick(bits).collect();
                    m.handle(now, Input::Uplinks(there.clone()));
                }
                Chance::Answers(n) => {
                    let from = &links[usize::from(n) % 4].ways[0].source;
                    let to = servers[usize::from(n / 4) % 3];
                    let path = Path { local: SocketAddr::new(*from, 4500), remote: SocketAddr::new(to, 4500) };
                    let real = there.iter().any(|l| l.ways[0].source == *from) && from.is_ipv4() == to.is_ipv4();
                    if real {
                        m.handle(now, Input::Path(PathNews::Answered(path, Duration::from_millis(u64::from(n)))));
                    }
                }
                Chance::Unanswered => m.handle(now, Input::Path(PathNews::Unanswered)),
                Chance::Dead => m.handle(now, Input::Path(PathNews::Dead)),
                Chance::Peers(n) => {
                    let mut list = servers.to_vec();
                    list.rotate_left(usize::from(n) % 3);
                    m.handle(now, Input::Path(PathNews::Peers(list)));
                }
                Chance::Traffic(a, b) => {
                    (sent, received) = (sent + u64::from(a), received + u64::from(b / 2));
                    m.handle(now, Input::Traffic { sent, received });
                }
                Chance::Time(ms) => {
                    let until = now + Duration::from_millis(u64::from(ms));
                    while let Some(next) = m.deadline().filter(|d| *d <= until) {
                        prop_assert!(next >= now);
                        now = next;
                        m.handle(now, Input::Wake);
                        prop_assert!(m.deadline().is_none_or(|d| d > now));
                    }
                    now = until;
                }
            }
            let acts: Vec<Act> = core::iter::from_fn(|| m.poll()).collect();
            if acts.iter().any(|a| matches!(a, Act::End | Act::Reconnect)) {
                break;
            }
            let reaches = |l: &Uplink| l.ways[0].source.is_ipv4() || there.contains(l);
            let any = there.iter().any(reaches);
            prop_assert_eq!(m.standing().0 == Standing::Dormant, !any);
            prop_assert!(m.deadline().is_some());
            if any {
                let local = m.path().local.ip();
                prop_assert!(there.iter().any(|l| l.ways[0].source == local), "{:?} over {:?}", m.path(), there);
            }
        }
    }
}
