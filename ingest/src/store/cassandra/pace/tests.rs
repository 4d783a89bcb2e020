//! Who waits for leave gets it in turn, and never are more in flight than the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::super::metrics::CassandraMetrics;
use super::{Outcome, Pace};

const TOOK: Duration = Duration::from_millis(1);

#[tokio::test]
async fn who_came_first_goes_first() {
    let pace = Pace::new(1, &CassandraMetrics::unregistered());
    let held = pace.leave().await;
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut waiting = JoinSet::new();
    for number in 0..20 {
        let (pace, order) = (pace.clone(), Arc::clone(&order));
        waiting.spawn(async move {
            let leave = pace.leave().await;
            order.lock().expect("a lock").push(number);
            leave.ended(Outcome::Done, TOOK, 1);
        });
        // One thread: the task waits before the next begins.
        tokio::task::yield_now().await;
    }
    assert!(order.lock().expect("a lock").is_empty());
    held.ended(Outcome::Done, TOOK, 1);
    while waiting.join_next().await.is_some() {}
    assert_eq!(*order.lock().expect("a lock"), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cut_takes_effect_at_once_and_what_is_dropped_comes_back() {
    let metrics = CassandraMetrics::unregistered();
    let pace = Pace::new(256, &metrics);
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(pace.leave().await);
    }
    assert!(pace.leave().now_or_never().is_none(), "the limit is in flight");
    held.pop().expect("held").ended(Outcome::Overloaded, TOOK, 1);
    assert_eq!((pace.limit(), metrics.limit.get()), (8, 8));
    for in_flight in (8..15).rev() {
        assert!(pace.leave().now_or_never().is_none(), "more are in flight than may be");
        drop(held.pop());
        assert_eq!(metrics.in_flight.get(), in_flight);
    }
    assert!(pace.leave().now_or_never().is_none(), "the limit is in flight");
    drop(held.pop());
    held.push(pace.leave().now_or_never().expect("there is room"));
    drop(held);
    let all: Vec<_> = (0..8).map(|_| pace.leave().now_or_never().expect("room")).collect();
    assert!(pace.leave().now_or_never().is_none(), "no permit was made up");
    assert_eq!(metrics.in_flight.get(), all.len() as i64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_are_more_in_flight_than_the_highest_limit() {
    let pace = Pace::new(32, &CassandraMetrics::unregistered());
    let in_flight = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for worker in 0..100 {
        let (pace, in_flight) = (pace.clone(), Arc::clone(&in_flight));
        workers.spawn(async move {
            for request in 0..200 {
                let leave = pace.leave().await;
                let now = in_flight.fetch_add(1, Ordering::SeqCst) + 1;
                assert!(now <= 32, "{now} in flight");
                tokio::task::yield_now().await;
                in_flight.fetch_sub(1, Ordering::SeqCst);
                match (worker + request) % 50 {
                    0 => leave.ended(Outcome::Overloaded, TOOK, 1),
                    1 => drop(leave),
                    _ => leave.ended(Outcome::Done, TOOK, 1),
                }
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.expect("a worker ends well");
    }
    let limit = pace.limit();
    let all: Vec<_> = (0..limit).map(|_| pace.leave().now_or_never().expect("room")).collect();
    assert!(pace.leave().now_or_never().is_none() && all.len() == limit);
}
