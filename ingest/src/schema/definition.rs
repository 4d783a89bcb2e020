//! From the demands of a file of tenants to rules that judge; what may be demanded is decided in
//! `pulsemesh-schemas`.

use std::sync::Arc;

use jsonschema::Validator;
use pulsemesh_schemas::{Demand, NAME_BYTES_MAX, PATH_NAMES_MAX, Wrong, compile};

use super::{Path, Rule, Schema, Schemas};

pub(crate) use pulsemesh_schemas::SchemaText;

/// What a file has of schemas so far.
pub(crate) type Bounds = pulsemesh_schemas::Bounds<Arc<Validator>>;

const _: () = assert!(NAME_BYTES_MAX == crate::pulse::NAME_BYTES_MAX);
const _: () = assert!(PATH_NAMES_MAX == crate::pulse::JSON_DEPTH_MAX);

impl Schemas {
    /// What a tenant's entries mean.
    ///
    /// # Errors
    /// What is wrong with them, each with its line.
    pub(crate) fn of_texts(
        texts: Vec<SchemaText>,
        bounds: &mut Bounds,
    ) -> Result<Self, Vec<Wrong>> {
        let demands = bounds.take(texts, |_, schema| compile(schema).map(Arc::new))?;
        let by_kind =
            demands.into_iter().map(|demand| (demand.kind.as_str().into(), demand.into()));
        Ok(Self { by_kind: by_kind.collect() })
    }
}

impl From<Demand<Arc<Validator>>> for Rule {
    fn from(demand: Demand<Arc<Validator>>) -> Self {
        let schema = demand.schema.map(|(digest, validator)| Schema { validator, digest });
        let required = demand.required.into_iter().map(Path).collect();
        Self { required, schema, on_failure: demand.on_failure }
    }
}
