//! Tests of the tenants of a mesh.
