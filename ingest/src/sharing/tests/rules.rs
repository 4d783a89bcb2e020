//! What is true wherever ids and keys are shared.

use std::time::Duration;

use uuid::Uuid;

use crate::sharing::link::Unavailable;
use crate::sharing::{Claimed, Settled, Shared, Verdict};

use super::process::{Begin, Process, SOON, keyed, named};

/// Whether all could be asked: who was too late to answer has shown nothing.
type Tried = Result<(), Unavailable>;

/// All rules, with keys that begin with `prefix`; a lease that is to end lasts so long.
pub(super) async fn check(shared: &Shared, prefix: &str, lease: Duration) -> Tried {
    let (a, b) = (Process::new(shared).await, Process::new(shared).await);
    let key = |name: &str| format!("{prefix}-{name}");
    a_key_is_in_flight_and_then_a_repeat(&a, &b, &key("plain")).await?;
    what_failed_is_free(&a, &b, &key("failed")).await?;
    two_keys_are_taken_together(&a, &b, &key("two")).await?;
    a_tenant_meets_no_other(&a, &key("tenants")).await?;
    a_lease_ends(shared, &b, &key("lease"), lease).await?;
    a_restart_settles(shared, &b, &key("restart")).await?;
    Ok(())
}

/// Commits what is held; others know of it then.
async fn told(held: Claimed) -> Tried {
    held.commit().was_told_within(SOON).await.then_some(()).ok_or(Unavailable)
}

async fn a_key_is_in_flight_and_then_a_repeat(a: &Process, b: &Process, key: &str) -> Tried {
    let (first, again, other) = (keyed(key, 1), keyed(key, 1), keyed(key, 2));
    let fresh = keyed(&format!("{key}-beside"), 1);
    let (verdicts, claimed) = a.take(std::slice::from_ref(&first)).await?;
    assert_eq!(verdicts, [Verdict::New(None)]);
    let verdicts = b.take(&[again.clone(), fresh.clone(), other.clone()]).await?.0;
    assert_eq!(verdicts, [Verdict::InFlight, Verdict::New(None), Verdict::InFlight]);
    told(claimed).await?;
    let (verdicts, claimed) = b.take(&[again.clone(), other, fresh]).await?;
    assert_eq!(verdicts[..2], [Verdict::Repeat(first.fixed), Verdict::Reused]);
    assert!(matches!(verdicts[2], Verdict::New(_)), "{verdicts:?}");
    // What is told twice changes nothing.
    told(claimed).await?;
    told(a.link.assume(&[again])).await?;
    assert_eq!(b.look(&first).await?, Verdict::Repeat(first.fixed));
    Ok(())
}

async fn what_failed_is_free(a: &Process, b: &Process, key: &str) -> Tried {
    let (verdicts, claimed) = a.take(&[keyed(key, 1)]).await?;
    assert_eq!(verdicts, [Verdict::New(None)]);
    drop(claimed);
    let first = keyed(key, 2);
    let (verdicts, mut claimed) = loop {
        let (verdicts, claimed) = b.take(std::slice::from_ref(&first)).await?;
        if verdicts != [Verdict::InFlight] {
            break (verdicts, claimed);
        }
    };
    assert_eq!(verdicts, [Verdict::New(None)], "with another body too");
    // It may be in the log all the same: whoever comes next logs the same, or is refused.
    claimed.doubt();
    drop(claimed);
    assert_eq!(a.settled(&keyed(key, 3)).await?, Verdict::Reused);
    assert_eq!(a.settled(&keyed(key, 2)).await?, Verdict::New(Some(first.fixed)));
    assert_eq!(b.settled(&keyed(key, 2)).await?, Verdict::New(Some(first.fixed)), "again");
    Ok(())
}

async fn two_keys_are_taken_together(a: &Process, b: &Process, key: &str) -> Tried {
    let id = Uuid::new_v4().as_u128();
    let both = named(id, Some(key), 1);
    let (verdicts, claimed) = a.take(std::slice::from_ref(&both)).await?;
    assert_eq!(verdicts, [Verdict::New(None)]);
    let by_key = named(id ^ 1, Some(key), 1);
    assert_eq!(b.look(&by_key).await?, Verdict::InFlight);
    // None of its keys was kept: the other one is free.
    assert_eq!(b.settled(&named(id ^ 1, None, 5)).await?, Verdict::New(None));
    told(claimed).await?;
    assert_eq!(b.look(&named(id, None, 1)).await?, Verdict::Repeat(both.fixed));
    assert_eq!(b.settled(&by_key).await?, Verdict::Repeat(both.fixed));
    let (verdicts, claimed) = b.take(&[named(id ^ 2, None, 1)]).await?;
    assert_eq!(verdicts, [Verdict::New(None)]);
    told(claimed).await?;
    assert_eq!(a.look(&named(id ^ 2, Some(key), 1)).await?, Verdict::Reused, "of two pulses");
    Ok(())
}

async fn a_tenant_meets_no_other(a: &Process, key: &str) -> Tried {
    let (verdicts, claimed) = a.take(&[keyed(key, 1)]).await?;
    assert_eq!(verdicts, [Verdict::New(None)]);
    told(claimed).await?;
    let mut foreign = keyed(key, 2);
    foreign.keys = crate::sharing::Namer::new("acme2").keys(None, Some(key));
    assert_eq!(a.settled(&foreign).await?, Verdict::New(None));
    Ok(())
}

async fn a_lease_ends(shared: &Shared, b: &Process, key: &str, lease: Duration) -> Tried {
    let dying = Process::begin(shared, Begin { lease, ..Begin::default() }).await;
    let first = keyed(key, 1);
    let (verdicts, claimed) = dying.take(std::slice::from_ref(&first)).await?;
    assert_eq!(verdicts, [Verdict::New(None)]);
    dying.kill(claimed);
    assert_eq!(b.look(&keyed(key, 1)).await?, Verdict::InFlight);
    assert_eq!(b.settled(&keyed(key, 1)).await?, Verdict::New(Some(first.fixed)));
    // It may be in the log of the one that died.
    assert_eq!(b.settled(&keyed(key, 2)).await?, Verdict::Reused);
    Ok(())
}

async fn a_restart_settles(shared: &Shared, b: &Process, key: &str) -> Tried {
    let name = |part: &str| format!("{key}-{part}");
    let (logged, lost) = (keyed(&name("logged"), 1), keyed(&name("lost"), 1));
    let dying = Process::new(shared).await;
    let log = dying.log;
    let (verdicts, claimed) = dying.take(&[logged.clone(), lost.clone()]).await?;
    assert_eq!(verdicts, [Verdict::New(None); 2]);
    dying.kill(claimed);
    assert_eq!(b.look(&logged).await?, Verdict::InFlight);
    let settled = vec![Settled { keys: logged.keys.clone(), fixed: logged.fixed }];
    let back = Process::begin(shared, Begin { log, settled, ..Begin::default() }).await;
    assert_eq!(b.look(&keyed(&name("logged"), 1)).await?, Verdict::Repeat(logged.fixed));
    let taken = back.look(&keyed(&name("lost"), 1)).await?;
    assert_eq!(taken, Verdict::New(Some(lost.fixed)), "it is its own");
    Ok(())
}
