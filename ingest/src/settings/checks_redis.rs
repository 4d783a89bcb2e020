//! Rules between the settings of Redis. Each names both sides. Pure.

use crate::limits::RedisSettings;

use super::error::Problem;
use super::table::{CountingValues, Values};
use super::{Settings, ShareChoice};

/// What would send a secret in the clear, log in as nobody, or trust nobody.
pub(super) fn problems(settings: &Settings, values: &Values) -> Vec<Problem> {
    let Some(redis) = &settings.counting.redis else {
        return sharing(settings, values).into_iter().collect();
    };
    let rules = [encryption, login];
    rules.iter().filter_map(|rule| rule(redis, &values.counting)).collect()
}

/// Who names a CA believes that the connection is encrypted, and without one nobody is trusted.
fn encryption(redis: &RedisSettings, values: &CountingValues) -> Option<Problem> {
    let (url, ca) = (&values.redis_url, &values.redis_tls_ca_file);
    match (redis.tls, &redis.tls_ca) {
        (true, None) => Some(url.problem(
            "needs --redis-tls-ca-file: the CA of Redis, or the system's list of them, such as \
             /etc/ssl/certs/ca-certificates.crt",
        )),
        (false, Some(_)) => {
            Some(ca.problem("needs rediss:// in --redis-url, or nothing is encrypted"))
        }
        _ => None,
    }
}

/// Who shares ids and keys through Redis must say where it is.
fn sharing(settings: &Settings, values: &Values) -> Option<Problem> {
    let value = &values.repeats.idempotency;
    let is_redis = settings.repeats.shared == ShareChoice::Redis;
    is_redis.then(|| value.problem("`redis` needs --redis-url".to_owned()))
}

fn login(redis: &RedisSettings, values: &CountingValues) -> Option<Problem> {
    (redis.username.is_some() && redis.password.is_none()).then(|| {
        let url = &values.redis_url;
        url.problem("names a user, who needs --redis-password-file")
    })
}

/// What is sound and may surprise.
pub(super) fn warnings(settings: &Settings, values: &Values) -> Vec<String> {
    let counting = &values.counting;
    let Some(redis) = &settings.counting.redis else {
        let of_redis = [
            &counting.redis_password_file,
            &counting.redis_tls_ca_file,
            &counting.limits_without_redis,
        ];
        let set = of_redis.into_iter().filter(|value| value.is_set());
        return set.map(|value| format!("{value}: has no effect without --redis-url")).collect();
    };
    if redis.tls || redis.password.is_none() {
        return Vec::new();
    }
    let password = &counting.redis_password_file;
    vec![format!("{password}: the password is sent in the clear without rediss://")]
}
