"""SageMaker Pipelines: definitions, executions and the engine that carries them out."""
