"""What the service says about itself. A leaf: anyone may call it, it calls nobody."""
