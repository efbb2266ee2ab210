"""Task families of the papers that need no physics engine: building, offloading, queues."""
