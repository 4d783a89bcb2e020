//! The counts of all retention classes: each has a file and sums of its own, as it has tables.

use std::io;
use std::sync::Arc;

use crate::fs::OsFs;

use super::super::live::Live;
use super::super::metrics::CassandraMetrics;
use super::super::settings::CassandraSettings;
use super::{FlushError, Sums, SumsError};

/// The counts of this process.
#[derive(Debug)]
pub(crate) struct ClassSums {
    /// Of the default class.
    pub(crate) default: Arc<Sums>,
    /// Of the others, in the order of the settings.
    pub(crate) others: Vec<Arc<Sums>>,
}

impl ClassSums {
    /// As [`Sums::open`].
    ///
    /// # Errors
    /// When one of the files can't be read or is of a newer version.
    pub(crate) fn open(
        settings: &CassandraSettings,
        metrics: &CassandraMetrics,
    ) -> Result<Self, SumsError> {
        let open = |settings: &CassandraSettings| {
            Sums::open(Arc::new(OsFs), settings, metrics.clone()).map(Arc::new)
        };
        // First: the others lie in its directory.
        let default = open(settings)?;
        let others = settings.classes.iter().map(|class| open(&settings.of_class(class)));
        Ok(Self { default, others: others.collect::<Result<_, _>>()? })
    }

    /// As [`Sums::flush`], of one class after the other; what fails keeps none from its turn.
    ///
    /// # Errors
    /// Of the first that failed.
    pub(crate) async fn flush(&self, live: &Arc<Live>) -> Result<(), FlushError> {
        let mut flushed = self.default.flush(live).await;
        for (sums, live) in self.others.iter().zip(&live.classes) {
            flushed = flushed.and(sums.flush(live).await);
        }
        flushed
    }

    /// As [`Sums::keep`].
    ///
    /// # Errors
    /// When one of the files could not be written.
    pub(crate) async fn keep(&self) -> io::Result<()> {
        self.default.keep().await?;
        for sums in &self.others {
            sums.keep().await?;
        }
        Ok(())
    }
}
