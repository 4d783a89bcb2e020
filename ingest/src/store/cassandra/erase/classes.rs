//! Erases from the tables of all retention classes, one class after the other. What is counted of
//! the tenant begins at nothing for all of them at once: at the erasure's begin, while nothing is
//! being written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::{Erased, Erasure};

use super::super::counts::ClassSums;
use super::super::link::{ClassLink, Link};
use super::super::settings::CassandraSettings;
use super::Eraser;

/// An eraser for each class, under its name; the default one has none.
#[derive(Debug)]
pub(in super::super) struct ClassErasers(Vec<(Option<Box<str>>, Eraser)>);

/// Where an erasure goes on: in a class, and then in each that comes behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    class: Option<Box<str>>,
    position: String,
    later: Vec<(Option<Box<str>>, String)>,
}

impl Position {
    fn of(mut begun: Vec<(Option<Box<str>>, String)>) -> Option<Self> {
        if begun.is_empty() {
            return None;
        }
        let (class, position) = begun.remove(0);
        Some(Self { class, position, later: begun })
    }

    fn write(&self) -> String {
        // Nothing in it has a key that is no text, which alone can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl ClassErasers {
    /// Of all classes of the settings.
    pub(in super::super) fn new(
        link: &Arc<Link>,
        settings: &Arc<CassandraSettings>,
        sums: &ClassSums,
    ) -> Self {
        let eraser = |place, settings, sums: &Arc<_>| {
            Eraser::new(ClassLink::new(Arc::clone(link), place), settings, Arc::clone(sums))
        };
        let default = (None, eraser(None, Arc::clone(settings), &sums.default));
        let others = settings.classes.iter().zip(&sums.others).enumerate();
        let others = others.map(|(place, (class, sums))| {
            let settings = Arc::new(settings.of_class(class));
            (Some(Box::from(&*class.name)), eraser(Some(place), settings, sums))
        });
        Self(std::iter::once(default).chain(others).collect())
    }

    /// Begins in all classes. All that was being written must have ended.
    pub(in super::super) async fn begin(&self, erasure: &Erasure) -> anyhow::Result<Erased> {
        let mut begun = Vec::with_capacity(self.0.len());
        for (class, eraser) in &self.0 {
            let position = eraser.begin(erasure).await?.next;
            begun.extend(position.map(|position| (class.clone(), position)));
        }
        let next = Position::of(begun).map(|position| position.write());
        Ok(Erased { next, ..Erased::default() })
    }

    /// Does the next step.
    pub(in super::super) async fn step(
        &self,
        erasure: &Erasure,
        position: &str,
    ) -> anyhow::Result<Erased> {
        let Ok(Position { class, position, later }) = serde_json::from_str(position) else {
            return self.begin(erasure).await;
        };
        let erased = match self.0.iter().find(|(name, _)| *name == class) {
            Some((_, eraser)) => eraser.step(erasure, &position).await?,
            // It is not in the settings any more: nobody reads its tables, and their rows expire.
            None => Erased::default(),
        };
        let next = match erased.next {
            Some(position) => Some(Position { class, position, later }),
            None => Position::of(later),
        };
        Ok(Erased { next: next.map(|position| position.write()), ..erased })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_class_comes_behind_the_other() {
        let begun = vec![(None, "a".to_owned()), (Some("short".into()), "b".to_owned())];
        let first = Position::of(begun).expect("there are two");
        assert_eq!((&first.class, &*first.position), (&None, "a"));
        assert_eq!(serde_json::from_str::<Position>(&first.write()).expect("reads back"), first);
        let second = Position::of(first.later).expect("there is one more");
        assert_eq!((second.class.as_deref(), &*second.position), (Some("short"), "b"));
        assert_eq!(Position::of(second.later), None);
    }
}
