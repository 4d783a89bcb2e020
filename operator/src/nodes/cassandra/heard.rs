//! Who is alive: whose heartbeat, as one node knows it, has gone on as time has. What was read
//! last is kept, so that a steady mesh is judged by one question; after a while, or where a
//! heartbeat stays behind, the node is asked again until all have moved or the silence is long
//! enough. Never a reason to believe that a node lives which was not heard of lately.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::gossip::{Life, Seen};
use crate::nodes::{Member, NodeRef, State};

/// Between two questions: heartbeats are counted each second.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(300);
/// How long a node may be silent before it is called dead. A beat comes each second and takes
/// some rounds to spread.
const SILENCE_MAX: Duration = Duration::from_secs(6);
/// How far a count may lag behind the clock since the last reading, and by how much death may be
/// noticed later for it: rounds take a little more than a second.
const LAG_MAX: Duration = Duration::from_secs(10);
/// For how long a reading serves; over a longer time the lag adds up.
const KEPT: Duration = Duration::from_secs(300);

/// By host id: generation and count.
type Beats = BTreeMap<String, (i32, i32)>;

/// What was read last through each node.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// By namespace and pod. Bounded by the nodes that were asked within `KEPT`.
    last: Mutex<BTreeMap<(String, String), (Instant, Beats)>>,
}

/// One time of listening to a node.
#[derive(Debug)]
pub(super) struct Round {
    since: Instant,
    /// A reading from before, if there is one.
    former: Option<(Instant, Beats)>,
    first: Option<Beats>,
    latest: (Instant, Beats),
}

impl Heard {
    pub(super) fn begin(&self, node: &NodeRef, now: Instant) -> Round {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, (at, _)| now.duration_since(*at) < KEPT);
        let former = last.get(&key(node)).cloned();
        Round { since: now, former, first: None, latest: (now, Beats::new()) }
    }

    pub(super) fn keep(&self, node: &NodeRef, round: Round) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(key(node), round.latest);
    }
}

fn key(node: &NodeRef) -> (String, String) {
    (node.namespace.clone(), node.pod.clone())
}

impl Round {
    /// Takes a reading; the members once it is clear who is alive. `own` is who answers.
    pub(super) fn listen(
        &mut self,
        own: &str,
        seen: Vec<Seen>,
        now: Instant,
    ) -> Option<Vec<Member>> {
        let beats = |seen: &Seen| match seen.life {
            Life::Beats { generation, count } => Some((seen.host_id.clone(), (generation, count))),
            Life::Told(_) => None,
        };
        self.latest = (now, seen.iter().filter_map(beats).collect());
        self.first.get_or_insert_with(|| self.latest.1.clone());
        let members: Vec<Member> =
            seen.into_iter().map(|seen| self.member(own, seen, now)).collect();
        let is_clear = members.iter().all(|member| member.is_alive || member.state == State::Left);
        (is_clear || now.duration_since(self.since) >= SILENCE_MAX).then_some(members)
    }

    fn member(&self, own: &str, seen: Seen, now: Instant) -> Member {
        let is_alive = seen.host_id == own
            || match seen.life {
                Life::Told(up) => up,
                Life::Beats { generation, count } => {
                    self.moved(&seen.host_id, (generation, count))
                        || self.kept_time(&seen.host_id, (generation, count), now)
                }
            };
        Member { host_id: seen.host_id, address: seen.address, state: seen.state, is_alive }
    }

    /// Whether it has counted on while we listened.
    fn moved(&self, host: &str, beats: (i32, i32)) -> bool {
        let first = self.first.as_ref().and_then(|first| first.get(host));
        first.is_some_and(|first| beats > *first)
    }

    /// Whether it has counted since the reading before as the clock has.
    fn kept_time(&self, host: &str, (generation, count): (i32, i32), now: Instant) -> bool {
        let Some((at, former)) = &self.former else { return false };
        let Some((before, counted)) = former.get(host) else { return false };
        let seconds = now.duration_since(*at).saturating_sub(LAG_MAX).as_secs();
        let least = i32::try_from(seconds).unwrap_or(i32::MAX).max(1);
        generation == *before && count.saturating_sub(*counted) >= least
    }
}

#[cfg(test)]
mod unit_tests {
    use std::net::IpAddr;

    use super::*;

    fn node() -> NodeRef {
        let text = |text: &str| text.to_owned();
        let address = IpAddr::from([10, 0, 0, 1]);
        NodeRef { namespace: text("n"), pod: text("p"), address, credentials: text("s") }
    }

    fn seen(host: &str, generation: i32, count: i32) -> Seen {
        let life = Life::Beats { generation, count };
        let address = IpAddr::from([10, 0, 0, 2]);
        Seen { host_id: host.to_owned(), address, state: State::Normal, life }
    }

    fn alive(members: &[Member]) -> Vec<bool> {
        members.iter().map(|member| member.is_alive).collect()
    }

    /// A reading of one other node by the node `a`.
    fn listen(round: &mut Round, beats: (i32, i32), at: Instant) -> Option<Vec<bool>> {
        let (generation, count) = beats;
        let members = round.listen("a", vec![seen("a", 1, 5), seen("b", generation, count)], at);
        members.map(|members| alive(&members))
    }

    fn after(begun: Instant, seconds: u64) -> Instant {
        begun + Duration::from_secs(seconds)
    }

    #[test]
    fn who_answers_lives_and_others_once_they_have_counted_on() {
        let now = Instant::now();
        let mut round = Heard::default().begin(&node(), now);
        assert_eq!(listen(&mut round, (1, 5), now), None);
        assert_eq!(listen(&mut round, (1, 6), after(now, 1)), Some(vec![true, true]));
    }

    #[test]
    fn a_lone_node_is_asked_once() {
        let now = Instant::now();
        let mut round = Heard::default().begin(&node(), now);
        let members = round.listen("a", vec![seen("a", 1, 5)], now).expect("clear");
        assert_eq!(alive(&members), [true]);
    }

    #[test]
    fn one_that_stays_silent_is_dead_after_some_seconds() {
        let now = Instant::now();
        let mut round = Heard::default().begin(&node(), now);
        assert_eq!(listen(&mut round, (1, 5), now), None);
        assert_eq!(listen(&mut round, (1, 5), after(now, 5)), None);
        assert_eq!(listen(&mut round, (1, 5), after(now, 6)), Some(vec![true, false]));
    }

    #[test]
    fn a_reading_from_before_serves_while_the_count_keeps_time() {
        for (seconds, count, is_clear) in [
            (60, 60, true),
            (60, 51, true),
            // It counted on after the reading, and died since.
            (60, 30, false),
            (5, 1, true),
            (5, 0, false),
            (400, 400, false),
        ] {
            let (heard, now) = (Heard::default(), Instant::now());
            let mut round = heard.begin(&node(), now);
            listen(&mut round, (1, 0), now);
            heard.keep(&node(), round);
            let later = after(now, seconds);
            let alive = listen(&mut heard.begin(&node(), later), (1, count), later);
            assert_eq!(alive, is_clear.then(|| vec![true, true]), "{count} in {seconds} s");
        }
    }

    #[test]
    fn one_that_was_started_anew_is_listened_to() {
        let (heard, now) = (Heard::default(), Instant::now());
        let mut round = heard.begin(&node(), now);
        listen(&mut round, (1, 500), now);
        heard.keep(&node(), round);
        let later = after(now, 20);
        let mut round = heard.begin(&node(), later);
        assert_eq!(listen(&mut round, (9, 3), later), None);
        assert_eq!(listen(&mut round, (9, 4), after(later, 1)), Some(vec![true, true]));
    }
}
