"""unit/ mirrors backend/; contract/ runs each port over every backend; api/ and live/ use HTTP."""
